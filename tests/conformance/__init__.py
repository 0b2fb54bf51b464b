"""The conformance run: the tests of the model host against Truss's own server, and where the two differ."""
