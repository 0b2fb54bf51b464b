"""Answers that no sane server gives, for the two places that read HTTP by hand."""
