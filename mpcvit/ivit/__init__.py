"""Vision Transformers in integers only."""

from mpcvit.ivit.graph import IntegerViT, integer_vit

__all__ = ["IntegerViT", "integer_vit"]
