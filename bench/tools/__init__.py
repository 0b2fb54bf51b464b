"""The parts of the benches: the stack, the load, what others are, the tables; and what is run by hand."""
