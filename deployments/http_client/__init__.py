"""HTTP/1.1 to a model host or a server: the answer parsed once for all who call, and a connection for asyncio."""
