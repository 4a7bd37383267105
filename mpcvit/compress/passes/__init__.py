"""Compression passes, one file each, by name. A new one needs a file here, and a row in docs/compression.md."""

from mpcvit.compress.compression import Compression
from mpcvit.members import members

PASSES = {kind.name: kind for kind in members(__name__, Compression)}  # type: ignore[type-abstract]

__all__ = ["PASSES"]
