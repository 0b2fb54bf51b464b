"""A host whose model is any HTTP server: runs its process and passes calls on to it."""
