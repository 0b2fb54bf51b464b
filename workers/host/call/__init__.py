"""One call of the model: its slot, its answer on the sync door, and its frames as a job."""
