"""What every process of Kingpost needs: variables, logs, loops, file descriptors, private files."""
