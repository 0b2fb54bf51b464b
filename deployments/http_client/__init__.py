"""The HTTP/1.1 client for model hosts and custom servers: one parser of answers, and a connection for asyncio."""
