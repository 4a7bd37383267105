"""What a run does to weights besides the optimiser's steps, one file per kind. A new kind needs a file, and a row here.

With a second kind, ``AnyWeightHook`` becomes a union that pydantic tells apart by ``kind``, as ``AnyTokenHook`` is.
"""

from mpcvit.train.weight_hooks.ewa import ExpertAveraging

#: One of the kinds; documents name it by ``kind``.
AnyWeightHook = ExpertAveraging

__all__ = ["AnyWeightHook", "ExpertAveraging"]
