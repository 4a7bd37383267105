"""Whether a model is right for every picture: hard pictures, and pictures made to be hard, through the reference."""
