"""Batches: the requests of a file, one a line, as jobs. Their records, and how a maintenance process takes its turn at one."""
