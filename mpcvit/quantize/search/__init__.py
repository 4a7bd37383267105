"""Searches for the parameters of quantizers."""
