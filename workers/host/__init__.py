"""What runs in the model host process: Truss's server contract for one package. It knows no store and no Celery."""
