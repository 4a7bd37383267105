"""Vision Transformers in integers only."""

from mpcvit.quantize.integer.graph import IntegerViT, integer_vit

__all__ = ["IntegerViT", "integer_vit"]
