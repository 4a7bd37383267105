"""Masked wires and function secret sharing, for two parties and a dealer."""
