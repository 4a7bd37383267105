"""Bounds on heads behind a norm: scores, and what the projection of all heads writes. One file per way of mixing."""
