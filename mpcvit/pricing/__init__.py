"""What a configuration costs in seconds of secure inference."""
