"""The documentation: its site, and what its pages type."""
