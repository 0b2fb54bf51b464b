"""The routes of the host: Truss's for clients, `/kingpost` for the worker."""
