"""What every compression pass is: data that says what to do, and a function from a model to a smaller one."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

import torch

from mpcvit.models.check_images import check_images
from mpcvit.models.merge_hidden_norms import merge_hidden_norms
from mpcvit.models.vit import VisionTransformer

#: Called with a line of text for every step of a pass that is done.
Notify = Callable[[str], None]


class Compression(ABC):
    """One pass; a frozen dataclass whose fields are its settings, checked when it is made.

    Attributes:
        name: what files and commands call it.
    """

    name: ClassVar[str]

    @abstractmethod
    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        """Return a new, smaller model in eval mode; ``model`` is not changed.

        Args:
            images: normalised training pictures, float [count, channels, size, size].
            report: told what is done, by passes that take long.

        Raises:
            ConfigError: the settings do not fit the model.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the settings, with the pass' name under ``"pass"``."""
        return {"pass": self.name, **asdict(self)}  # type: ignore[call-overload]  # every pass is a dataclass


@torch.no_grad()
def compress(
    model: VisionTransformer,
    config: Compression,
    images: torch.Tensor,
    report: Notify = lambda line: None,
) -> VisionTransformer:
    """Return ``model`` after the pass ``config``. Norms behind activations go into the layers behind them first.

    Args:
        images: normalised training pictures, float [count, channels, size, size].
        report: told what is done, by passes that take long.

    Raises:
        ConfigError: the settings do not fit the model.
        InputError: ``images`` has another shape than the model's input.
    """
    check_images(images, model.config.input_shape)
    # a copy: a pass runs the model, and in training mode that would move the statistics of batch norms
    return config.apply(merge_hidden_norms(copy.deepcopy(model).eval()), images, report).eval()
