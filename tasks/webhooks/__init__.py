"""Webhooks: each final state makes an outbox row, which is delivered at least once with one webhook-id."""
