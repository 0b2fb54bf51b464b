"""What people who look at the console cost everybody else."""
