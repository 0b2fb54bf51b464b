"""The order of the queue: levels, fair share, and the score that holds both. Pure functions."""
