"""config.yaml: every key, its type, what becomes of it, and a sentence for each mistake."""
