"""A replica: the Celery worker that claims jobs, and the model host process that runs them."""
