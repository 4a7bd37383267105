"""How token reductions become ops, one file per kind."""

from mpcvit.export.reduction.evit import lower_evit
from mpcvit.export.reduction.spvit import lower_spvit
from mpcvit.export.reduction.window_pool import lower_window_pool

__all__ = ["lower_evit", "lower_spvit", "lower_window_pool"]
