"""Placing replicas on a machine, as it has room for them."""
