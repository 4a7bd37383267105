"""What a run does to weights besides the optimiser's steps, one file per kind. A new kind needs a file and a row."""

from typing import Annotated

from pydantic import Discriminator

from mpcvit.train.weight_hooks.ewa import ExpertAveraging
from mpcvit.train.weight_hooks.kept_zeros import KeptZeros

#: One of the kinds; documents name it by ``kind``.
AnyWeightHook = Annotated[ExpertAveraging | KeptZeros, Discriminator("kind")]

__all__ = ["AnyWeightHook", "ExpertAveraging", "KeptZeros"]
