"""`kingpost up`: the parts of a stack on one machine and what it needs for them."""
