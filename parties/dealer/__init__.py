"""The dealer: correlated randomness, and nothing else."""
