"""A compute party."""
