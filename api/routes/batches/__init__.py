"""OpenAI's Batch API: its files, and its batches."""
