"""Truss packages: read from a folder, checked, gathered and stored."""
