"""Modules that reduce the number of tokens, one file per kind. Axes: B batch, N tokens, K fewer tokens, D width."""

from mpcvit.models.reduction.evit import Evit
from mpcvit.models.reduction.spvit import Spvit
from mpcvit.models.reduction.window_pool import WindowPool

__all__ = ["Evit", "Spvit", "WindowPool"]
