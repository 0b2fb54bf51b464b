"""The gateway: Baseten's inference API, and what we add to it."""
