"""Lists of jobs by a filter, and operations on all that match: in steps of bounded length, each of which can be continued."""
