"""Idle channels (RePaViT, CVPR 2025): a share of every MLP's channels goes without activation.

The paper picks them before training. Here they are picked in a trained model: on calibration data, the activation of
each channel has a best line; the channels whose output is nearest to their line, as far as the second layer reads
them, are idle from now on, and their line goes into the second layer's weights and bias. Everything idle becomes one
matrix at export (:mod:`mpcvit.export.fold_mlp`), so the activations of an inference fall by the share asked for.

The paper also has two batch norms per MLP, which are linear after training: one in the place of the layer norm before
it, and one behind the activation. With ``batch_norms`` they are put in, beginning as near as they can to what the model
computes; they need training. Without, layer norms stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.fitting.calibration import BATCH
from mpcvit.compress.fitting.layers import matrix, reader, writer
from mpcvit.compress.rebuild import rebuilt
from mpcvit.compress.requirements import check_own_weights
from mpcvit.errors import ConfigError
from mpcvit.models.block import Gate
from mpcvit.models.kinds import Activation, GateAxis, Norm
from mpcvit.models.norm import BatchNorm
from mpcvit.models.vit import Block, Mlp, VisionTransformer


@dataclass(frozen=True, kw_only=True)
class RePaViT(Compression):
    """Activations at fewer channels.

    Attributes:
        theta: share of each MLP's channels that become idle, above 0; with 1 the block has no activation at all.
        batch_norms: whether the paper's batch norms are put in, before each MLP and behind its activation.

    Raises:
        ConfigError: ``theta`` is out of its range.
    """

    name: ClassVar[str] = "repavit"
    theta: float
    batch_norms: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.theta <= 1:
            raise ConfigError(
                f"a share of idle channels of {self.theta}",
                expected="above 0, at most 1",
                remedy="Correct the settings.",
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        config = model.config
        check_own_weights(model, self.name)
        if any(block.gate is not None for block in config.blocks):
            raise ConfigError(
                "a model whose activations are gated already",
                expected="activations at all tokens and channels",
                remedy="Run this pass first: a block has one gate.",
            )
        lines = fit_lines(model, images)
        gates: list[Gate | None] = [None] * config.depth
        activations = [block.activation for block in config.blocks]
        for number, line in lines.items():
            kept = _most_curved(line, _norms(model, number), self.theta)
            if kept:
                gates[number] = Gate(axis=GateAxis.CHANNEL, kept=kept)
            else:
                activations[number] = Activation.IDENTITY
        result = rebuilt(model, config.with_blocks(gate=gates, activation=activations))
        for number, line in lines.items():
            gate = gates[number]
            _put_in(cast(Mlp, result.blocks[number].mlp), line, () if gate is None else gate.kept)
        return with_batch_norms(result, images) if self.batch_norms else result


def with_batch_norms(model: VisionTransformer, images: torch.Tensor) -> VisionTransformer:
    """Return ``model`` with batch norms before its MLPs and behind their activations.

    Those behind activations begin as the identity. Each of the others begins as the best line, channel by channel, from
    what it reads to what the norm in its place gave, on ``images``.
    """
    blocks = model.config.blocks
    norms = [(block.norms[0], Norm.BATCHNORM) for block in blocks]
    result = rebuilt(model, model.config.with_blocks(norms=norms, hidden_norm=[True] * len(blocks)))
    seen = {name: _seen(model, name, images) for name in ("norm2", "mlp.fc2")}
    for number in range(len(blocks)):
        block = cast(Block, result.blocks[number])
        read, given = seen["norm2"][number]
        if blocks[number].norms[1] is not Norm.BATCHNORM:
            free = read - read.mean(1, keepdim=True)
            centred, wanted = free - free.mean(0), given - given.mean(0)
            slope = (centred * wanted).sum(0) / centred.square().sum(0).clamp(min=torch.finfo(centred.dtype).tiny)
            _begin(cast(BatchNorm, block.norm2), free, slope, given.mean(0))
        hidden, _ = seen["mlp.fc2"][number]
        assert block.mlp.norm is not None  # noqa: S101 - put in above
        _begin(block.mlp.norm, hidden, torch.ones_like(hidden[0]), hidden.mean(0))
    return result


def _seen(model: VisionTransformer, name: str, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return per block what its part ``name`` reads and gives, float64 [rows, channels] each."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        found.append((inputs[0].flatten(0, 1).double(), output.flatten(0, 1).double()))

    hooks = [block.get_submodule(name).register_forward_hook(keep) for block in model.blocks]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _begin(norm: nn.BatchNorm1d, read: torch.Tensor, slope: torch.Tensor, offset: torch.Tensor) -> None:
    """Make ``norm`` give slope * (x - mean) + offset, with the statistics of ``read`` [rows, channels]."""
    mean, variance = read.mean(0), read.var(0)
    norm.get_buffer("running_mean").copy_(mean)
    norm.get_buffer("running_var").copy_(variance)
    norm.bias.copy_(offset)
    norm.weight.copy_(slope * (variance + norm.eps).sqrt())


@dataclass(frozen=True)
class Lines:
    """The best line slope * h + offset for the activation of each channel of an MLP, float64 [channels].

    Attributes:
        error: mean squared distance of the activation from its line.
    """

    slope: torch.Tensor
    offset: torch.Tensor
    error: torch.Tensor


def fit_lines(model: VisionTransformer, images: torch.Tensor) -> dict[int, Lines]:
    """Return the lines of every block with an activation, by number, fitted to what ``images`` cause there."""
    mlps = {
        number: cast(Mlp, block.mlp)
        for number, block in enumerate(model.blocks)
        if model.config.blocks[number].activation is not Activation.IDENTITY
    }
    sums: dict[int, torch.Tensor] = {}
    counts: dict[int, int] = {}

    def add(number: int, hidden: torch.Tensor, activated: torch.Tensor) -> None:
        h, a = hidden.flatten(0, 1).double(), activated.flatten(0, 1).double()
        moments = torch.stack([h.sum(0), a.sum(0), (h * h).sum(0), (h * a).sum(0), (a * a).sum(0)])
        sums[number] = sums[number] + moments if number in sums else moments
        counts[number] = counts.get(number, 0) + len(h)

    hooks = [
        mlp.act.register_forward_hook(lambda _, inputs, output, number=number: add(number, inputs[0], output))
        for number, mlp in mlps.items()
    ]
    try:
        with torch.no_grad():
            for batch in images.split(BATCH):
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {number: _line(sums[number] / counts[number]) for number in mlps}


def _line(means: torch.Tensor) -> Lines:
    """Return the line from the means of h, a, h^2, h a and a^2."""
    h, a, hh, ha, aa = means
    variance, covariance = hh - h * h, ha - h * a
    # a channel that never changes is a constant, which is a line
    slope = torch.where(variance > 0, covariance / variance.clamp(min=torch.finfo(variance.dtype).tiny), 0.0)
    return Lines(slope, a - slope * h, (aa - a * a - slope * covariance).clamp(min=0))


def _norms(model: VisionTransformer, number: int) -> torch.Tensor:
    """Return [channels]: the squared length of what one unit of a channel adds to the stream, whose mean nobody
    reads.
    """
    rows = matrix(cast(Mlp, model.blocks[number].mlp).fc2)
    return (rows - rows.mean(1, keepdim=True)).square().sum(1)


def _most_curved(line: Lines, norms: torch.Tensor, theta: float) -> tuple[int, ...]:
    """Return the channels that keep their activation, ascending: those that would be missed most."""
    count = len(norms) - round(theta * len(norms))
    order = torch.argsort(line.error * norms, descending=True, stable=True)
    return tuple(sorted(order[:count].tolist()))


@torch.no_grad()
def _put_in(mlp: Mlp, line: Lines, kept: tuple[int, ...]) -> None:
    """Make the second layer read idle channels, which now bring h, as their line."""
    idle = torch.ones(len(line.slope), dtype=torch.bool)
    idle[list(kept)] = False
    first, last = reader(mlp.fc2), writer(mlp.fc2)
    constant = torch.where(idle, line.offset, 0.0) @ matrix(mlp.fc2)
    last.bias.add_(constant.to(last.bias))
    first.weight.mul_(torch.where(idle, line.slope, 1.0).to(first.weight))
