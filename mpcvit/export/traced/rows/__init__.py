"""What a call computes only in part, until it is clear what reads it: one file each."""
