"""Jobs by a filter: lists, counts, and operations on all that match."""
