"""What every process of ours needs of its machine: variables, logs, loops, descriptors, private files."""
