"""What a run adds to a model's tokens, one file per kind. A new kind needs a file, and a row here."""

from typing import Annotated

from pydantic import Discriminator

from mpcvit.train.token_hooks.denoiser import Denoiser
from mpcvit.train.token_hooks.prompts import DynamicPrompt
from mpcvit.train.token_hooks.registers import Registers

#: One of the kinds; documents name it by ``kind``.
AnyTokenHook = Annotated[Registers | DynamicPrompt | Denoiser, Discriminator("kind")]

__all__ = ["AnyTokenHook", "Denoiser", "DynamicPrompt", "Registers"]
