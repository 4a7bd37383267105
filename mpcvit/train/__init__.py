"""Training recipes. Never imports the serving side."""
