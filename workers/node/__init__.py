"""Starts replicas on a machine, as far as it has room for them."""
