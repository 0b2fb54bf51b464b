"""Manages child processes: keeps them alive, ends them with all that they started, and reads their output."""
