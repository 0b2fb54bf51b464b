"""Processes of this machine: kept alive, ended with all that they started, in turns, and their lines of output."""
