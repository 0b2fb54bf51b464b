"""Pictures of the console: `make screenshots`."""
