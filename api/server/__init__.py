"""The HTTP server around the application: sockets, connections, and limits for clients without a valid key."""
