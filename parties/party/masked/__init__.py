"""The masked engine at a party."""
