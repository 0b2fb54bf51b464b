"""Virtualenvs of packages: their content, their build, and their use by several replicas."""
