"""Measurements: accuracy of a model on each executor."""
