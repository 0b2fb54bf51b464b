"""The `kingpost` command."""
