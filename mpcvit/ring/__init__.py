"""Arithmetic in Z_2^64: fixed point, AES pseudo-randomness, additive sharing. numpy and cryptography only."""
