"""Block reconstruction: what rounding destroyed is learnt back, one part of the model at a time (BRECQ, ICLR 2021).

Each block is trained on calibration pictures to give, from what the quantized blocks before it write, what the float
model's block wrote. Nothing here needs labels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.check_images import check_images
from mpcvit.models.vit import Block, VisionTransformer
from mpcvit.quantize.reconstruct.learner import Learner, LearningStage

#: Called with the part's name, the steps done so far, and the error of the last one.
LearningProgress = Callable[[str, int, float], None]
#: Steps between two calls of a progress callback, which is also called after the last step.
_REPORT_EVERY = 50
#: Pictures that go through a model at once when nothing is learnt.
_BATCH = 64


def reconstruct(
    model: VisionTransformer,
    quantized: VisionTransformer,
    images: torch.Tensor,
    learner: Learner,
    *,
    steps: int,
    seed: int = 0,
    progress: LearningProgress | None = None,
) -> None:
    """Learn ``quantized``, part by part, to do what ``model`` does: the embedding, each block, the head.

    The error is that of a part's outputs, squared and summed over channels, its mean over tokens and pictures; for the
    head, the Kullback-Leibler divergence of its distribution from the float model's. Equal arguments give equal
    results on the same machine. Weights that blocks share are learnt in the first of them.

    Args:
        model: the float model; not changed.
        quantized: made of it by a method; changed in place.
        images: normalised pictures, float [count, channels, size, size]; the papers use 1,024.
        steps: per part and stage.
        seed: of the order of pictures.

    Raises:
        InputError: ``images`` has another shape than the model's input.
        ConfigError: the two models do not have the same parts.
    """
    check_images(images, model.config.input_shape)
    model = copy.deepcopy(model).eval()
    names = _parts(model)
    if names != _parts(quantized):
        raise ConfigError(
            f"a quantized model of {len(_parts(quantized))} parts",
            expected=f"the {len(names)} parts of the float model",
            remedy="Give the model that was quantized.",
        )
    trainable = [parameter for parameter in quantized.parameters() if parameter.requires_grad]
    learnt: set[nn.Parameter] = set()
    quantized.eval().requires_grad_(False)
    for name in names:
        part = quantized.get_submodule(name)
        inputs = _seen(quantized, name, images, outputs=False)
        targets = _seen(model, name, images, outputs=True)
        order = np.random.default_rng(seed)
        fit = _Fit(name, part, inputs, targets, learner.batch, order, progress)
        for stage in learner.stages(part, steps, learnt):
            fit.run(stage, steps)
        learnt |= set(part.parameters())
    for parameter in trainable:
        parameter.requires_grad_()


@dataclass(frozen=True)
class _Fit:
    """The data on which a part is learnt."""

    name: str
    part: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    batch: int
    order: np.random.Generator
    progress: LearningProgress | None

    @torch.enable_grad()
    def run(self, stage: LearningStage, steps: int) -> None:
        """Take ``steps`` of Adam."""
        groups = [{"params": rate.parameters, "lr": rate.start} for rate in stage.rates if rate.parameters]
        if not groups:
            return
        for rate in stage.rates:
            for parameter in rate.parameters:
                parameter.requires_grad_()
        optimiser = torch.optim.Adam(groups)
        for step in range(steps):
            for group, rate in zip(optimiser.param_groups, (r for r in stage.rates if r.parameters), strict=True):
                group["lr"] = rate.at(step / steps)
            chosen = torch.from_numpy(self.order.permutation(len(self.inputs))[: self.batch])
            error = self._error(_run(self.part, self.inputs[chosen]), self.targets[chosen])
            optimiser.zero_grad()
            (error if stage.penalty is None else error + stage.penalty(step / steps)).backward()
            optimiser.step()
            done = step + 1
            if self.progress is not None and (done % _REPORT_EVERY == 0 or done == steps):
                self.progress(self.name, done, float(error.detach()))
        for rate in stage.rates:
            for parameter in rate.parameters:
                parameter.requires_grad_(False)

    def _error(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.name == "head":
            return nn.functional.kl_div(
                output.log_softmax(-1), target.log_softmax(-1), reduction="batchmean", log_target=True
            )
        return (output - target).square().sum(dim=-1).mean()


def _parts(model: VisionTransformer) -> list[str]:
    return ["patch_embed", *(f"blocks.{number}" for number in range(len(model.blocks))), "head"]


def _run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = part(x, "", {}) if isinstance(part, Block) else part(x)
    return result


@torch.no_grad()
def _seen(model: VisionTransformer, name: str, images: torch.Tensor, *, outputs: bool) -> torch.Tensor:
    """Return what a part of ``model`` reads, or writes, for ``images``."""
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda _part, args, output: seen.append(output if outputs else args[0])
    )
    try:
        for batch in images.split(_BATCH):
            model(batch)
    finally:
        handle.remove()
    return torch.cat(seen)
