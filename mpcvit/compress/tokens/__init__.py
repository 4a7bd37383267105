"""What token-pruning passes share."""
