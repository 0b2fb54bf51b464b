"""Calls of replicas: the choice of one, the headers that pass, and the answer chunk by chunk."""
