"""Addresses for servers that tests start."""

from __future__ import annotations

import socket


def free_address() -> str:
    """``host:port`` on loopback, free a moment ago."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{holder.getsockname()[1]}"
