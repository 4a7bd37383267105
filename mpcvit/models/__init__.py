"""The plaintext side's models: a ViT whose heads and activations are configuration values."""
