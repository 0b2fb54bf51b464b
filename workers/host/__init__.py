"""What runs in the model host process: Truss's server contract for one package. It uses neither the store nor Celery."""
