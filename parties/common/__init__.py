"""What dealer and parties have in common as processes."""
