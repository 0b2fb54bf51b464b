"""The commands, imported when they run."""
