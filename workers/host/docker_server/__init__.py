"""A host whose model is any HTTP server: its process, and what is passed on to it."""
