"""One call of the model: its slot, its answer to a sync caller, and its frames to the worker."""
