"""One call of the model: its slot, its answer on the sync endpoint, and its frames as a job."""
