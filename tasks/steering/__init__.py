"""Lists of jobs by a filter, and operations on all that match: in bounded steps, so that an operation can be continued after any of them."""
