"""Webhooks: an outbox row for each final state, delivered at least once under one webhook-id."""
