"""Programs, the one thing that training and serving share, and their readers."""
