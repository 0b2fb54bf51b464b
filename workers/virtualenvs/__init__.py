"""Virtualenvs of packages: what they need, how they are built and shared."""
