"""Starts, watches and calls a model host, from the worker's side."""
