"""The routes of the host: Truss's for callers, and those of its worker on another socket."""
