"""Chains: a package for each chainlet, and which of them share a process."""
