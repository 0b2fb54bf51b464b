"""The messages between a worker and its model host, and the codec for them. It imports no other package of ours."""
