"""What parties say to each other, over whatever carries it."""
