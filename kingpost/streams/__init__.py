"""What the server sends bit by bit, read as it comes."""
