"""The way to a replica: which one, what passes, and its answer chunk by chunk."""
