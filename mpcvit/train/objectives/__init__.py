"""What training minimises, one objective per file."""
