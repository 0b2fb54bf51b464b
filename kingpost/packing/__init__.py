"""What a folder becomes when it is pushed: read, selected, hashed and packed. Client and server share it."""
