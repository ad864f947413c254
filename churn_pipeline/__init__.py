"""Customer records in, churn scores out. Importing this package imports nothing else."""
