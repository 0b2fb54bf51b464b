"""The commands that reach a server over HTTP."""
