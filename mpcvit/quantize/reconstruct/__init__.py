"""Block reconstruction with learnt rounding."""
