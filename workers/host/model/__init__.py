"""Truss's contract for a model class: loading it, calling its methods, and what goes in and out."""
