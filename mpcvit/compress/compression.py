"""What every compression pass is: data that says what to do, and a function from a model to a smaller one."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import nn

from mpcvit.errors import ConfigError
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

    def apply_to_module(self, module: nn.Module, images: torch.Tensor, report: Notify) -> nn.Module:
        """Return a new, smaller module in eval mode, of any make; ``module`` is not changed.

        Only passes that look at one linear layer at a time can do this.

        Args:
            images, report: as for :meth:`apply`.

        Raises:
            ConfigError: this pass needs to know the model's blocks, or the settings do not fit the module.
        """
        raise ConfigError(
            f"the pass '{self.name}' for a module that is traced",
            expected="a Vision Transformer of this package, whose blocks, heads and tokens the pass changes",
            remedy="Use a pass that goes layer by layer: mixed_rank or lpvit.",
        )

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


@torch.no_grad()
def compress_module(
    module: nn.Module, config: Compression, images: torch.Tensor, report: Notify = lambda line: None
) -> nn.Module:
    """Return any module after the pass ``config``; see :func:`compress`.

    Raises:
        ConfigError: the pass cannot do this, or its settings do not fit the module.
    """
    return config.apply_to_module(copy.deepcopy(module).eval(), images, report).eval()
