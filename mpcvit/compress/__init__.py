"""Compression of trained models: one pass per file, each from a model to a smaller one."""

from mpcvit.compress.compression import Compression, compress, compress_module

__all__ = ["Compression", "compress", "compress_module"]
