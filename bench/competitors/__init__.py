"""What Kingpost is compared with; each runs in a process of its own."""
