"""The gateway: Baseten's inference API with Kingpost's additions."""
