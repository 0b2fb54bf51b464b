"""What a worker and its model host say to each other, and the one codec for it. It imports nothing of ours."""
