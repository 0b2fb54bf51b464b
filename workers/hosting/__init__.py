"""How a worker starts, watches and calls a model host."""
