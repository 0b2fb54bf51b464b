"""The Celery side: a replica claims jobs, has its host run them and settles what became of them."""
