"""The replica, a Celery worker: it claims jobs, lets its host run them and records how they ended."""
