"""The server around the application: sockets, connections, and what a client may take before it has shown a key."""
