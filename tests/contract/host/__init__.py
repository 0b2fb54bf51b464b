"""The Truss server contract, point by point, through a real model host process over HTTP."""
