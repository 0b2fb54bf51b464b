"""The job: its states, its store in Redis, the wake-ups through Celery, the sweeper and the webhooks."""
