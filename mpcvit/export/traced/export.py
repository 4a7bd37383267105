"""Export of any module that ``torch.export`` can trace: trace, rewrite, lower call by call, check the result."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.export.answer import check_reveal
from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported, begin, finish
from mpcvit.export.factors import Factors
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.parts import Role
from mpcvit.export.traced.graph import TracedGraph, shape_of
from mpcvit.export.traced.lower import check_ops, lower_graph
from mpcvit.export.traced.model import TracedModel
from mpcvit.export.traced.passes import PASSES
from mpcvit.export.traced.rows.picture import NormalisedPicture
from mpcvit.export.traced.trace import trace
from mpcvit.models.low_rank import multiplied_out
from mpcvit.wire.reveal import LOGITS, Disclosure


@torch.no_grad()
def export_traced(
    model: TracedModel,
    images: torch.Tensor,
    precision: Precision | None = None,
    reveal: Disclosure = LOGITS,
    factors: Factors = Factors.MERGED,
    normalisation: Normalisation = NOISE,
) -> Exported:
    """Return the Program of a module, its types calibrated on ``images``; see :func:`mpcvit.export.vit.export_vit`.

    Args:
        factors: of layers of low rank (:class:`mpcvit.models.low_rank.LowRank`) that 'mpcvit compress' made; two linear
            layers of the module's own in a row stay two.

    Raises:
        ConfigError: the module cannot be traced, gives no logits, or has an op without lowering.
        InputError, ProgramError, RangeError: as there.
    """
    config = model.config
    if factors is Factors.MERGED:
        model = replace(model, module=multiplied_out(model.module))
    check_reveal(reveal, *config.output_shape)
    b, pixels = begin(images, config.input_shape, normalisation, precision)
    traced = graph_of(model)
    if shape_of(traced.output) != (1, *config.output_shape):
        raise ConfigError(
            f"a module that answers {list(shape_of(traced.output))} for one picture",
            expected=f"logits {[1, *config.output_shape]}",
            remedy="Wrap the module in one whose forward returns logits.",
        )
    check_ops(traced)
    picture = b.reshape("pixels", pixels, 1, *config.input_shape)
    with b.scope(Role.MLP):
        answer = lower_graph(b, traced, NormalisedPicture("picture", picture, normalisation))
    with b.scope(Role.HEAD):
        logits = b.reshape("logits", answer, *config.output_shape)
        return finish(b, _OneByOne(model.module), normalisation, pixels, logits, reveal)


def graph_of(model: TracedModel) -> TracedGraph:
    """Return the graph of a module as it is lowered.

    Raises:
        ConfigError: the module cannot be traced.
    """
    traced = trace(model.module, model.config.input_shape)
    for rewrite in PASSES:
        rewrite(traced)
    return traced


class _OneByOne(nn.Module):
    """A module that sees one picture at a time, as it was traced."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the logits of all pictures: in float64, or in float32 where the module has constants of that type."""
        try:
            return torch.cat([self.module(picture[None]) for picture in pictures])
        except RuntimeError:
            narrow = copy.deepcopy(self.module).float()
            return torch.cat([narrow(picture[None].float()) for picture in pictures]).double()
