"""The one top-level name that belongs to Kingpost alone."""
