"""Batches: reads their files, queues their lines, and writes their results. A loop of maintenance."""
