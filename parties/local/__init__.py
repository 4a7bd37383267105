"""A deployment on one machine."""
