"""Activation-aware mixed-rank compression (Azizi, Nazemi, Pedram; arXiv 2402.06004, ECCV-W 2024).

Three stages: the best approximation of each layer on calibration data
(:mod:`~mpcvit.compress.fitting.low_rank_fit`); a rank per layer, greedily
(:mod:`~mpcvit.compress.fitting.rank_allocation`); layer by layer, gradient steps that make up for the error.
The paper learns a second small tensor beside the factors in the last stage, of a structure it does not tell: here a
product of low rank, R = P Q, that starts at 0 and is learnt while the factors stay (``residual``). As A B + P Q is
[A P] [B; Q], the model has one pair of factors, and R costs neither a round nor an addition. Without it, the factors
themselves are learnt. Each layer reads what the layers before it, compressed,
give, and is to write what it wrote in the original model, so that errors do not add up.

Under MPC the factors must be chosen at export (:class:`mpcvit.export.factors.Factors`); by default they are multiplied
out, as weights are opened once per load and a factor costs a round.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from mpcvit.compress.compression import Compression, Notify
from mpcvit.compress.fitting.calibration import LAYERS, Moments, input_moments, inputs_of
from mpcvit.compress.fitting.low_rank_fit import LowRankFactors, Spectrum, fit, output_spectrum, weight_spectrum
from mpcvit.compress.fitting.module_layers import module_layers
from mpcvit.compress.fitting.rank_allocation import Candidate, allocate
from mpcvit.compress.rebuild import rebuilt
from mpcvit.compress.requirements import check_ordinary_layers, check_own_weights
from mpcvit.errors import ConfigError
from mpcvit.models.block import LayerRanks
from mpcvit.models.low_rank import LowRank, put_low_rank
from mpcvit.models.vit import VisionTransformer

#: Rows per gradient step, and learning rate at first, in parts of the root mean square of what is learnt.
_ROWS, _RATE = 4096, 0.02
#: Rows that compensation learns from, drawn at random from more.
_MOST_ROWS = 1 << 15


class FitTarget(StrEnum):
    """What the factors of a layer are fitted to: its outputs on calibration data, or its weights alone (plain SVD)."""

    OUTPUTS = "outputs"
    WEIGHTS = "weights"


@dataclass(frozen=True, kw_only=True)
class MixedRank(Compression):
    """Linear layers of low rank.

    Attributes:
        reduction: share of all the model's parameters to save, between 0 and 1.
        step: ranks are multiples of this.
        fit: what factors are fitted to. LayerRanks are chosen by outputs in any case.
        compensation: gradient steps per layer; 0 for none.
        residual: ranks of a layer, at most, that gradient steps learn beside factors that stay; they count as part of
            its rank, so that as many parameters are saved as without. 0 for steps of the factors themselves.
        seed: of the rows of gradient steps; not negative.

    Raises:
        ConfigError: a number is out of its range.
    """

    name: ClassVar[str] = "mixed_rank"
    reduction: float
    step: int = 4
    fit: FitTarget = FitTarget.OUTPUTS
    compensation: int = 0
    residual: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        negative = min(self.compensation, self.seed, self.residual) < 0
        if not 0 < self.reduction < 1 or self.step < 1 or negative or (self.residual and not self.compensation):
            raise ConfigError(
                f"a reduction of {self.reduction}, ranks in steps of {self.step}, {self.compensation} gradient steps,"
                f" {self.residual} ranks that they learn, seed {self.seed}",
                expected="a reduction between 0 and 1, steps of 1 or more, no negative number, and gradient steps for"
                " ranks to learn",
                remedy="Correct the settings.",
            )

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        return lower_ranks(model, images, self, _in_words(report))

    def apply_to_module(self, module: nn.Module, images: torch.Tensor, report: Notify) -> nn.Module:
        return lower_module_ranks(module, images, self, _in_words(report))


def lower_ranks(
    model: VisionTransformer,
    images: torch.Tensor,
    settings: MixedRank,
    report: Callable[[str, int, float], None] = lambda layer, rank, error: None,
) -> VisionTransformer:
    """Return ``model`` with linear layers of low rank; the same for the same arguments.

    Compensation runs the model up to a layer twice for every layer, once as it was and once as it is by then.

    Args:
        report: called with every layer that is done, its rank, and the relative squared error of its outputs on the
            inputs that it was fitted to.

    Raises:
        ConfigError: the reduction cannot be reached, or layers are of low rank or shared already.
    """
    check_ordinary_layers(model, settings.name)
    check_own_weights(model, settings.name)
    if settings.compensation and _chooses_tokens(model):
        raise ConfigError(
            "gradient steps in a model that chooses its tokens",
            expected="tokens that do not depend on what layers write",
            remedy="Set compensation to 0, or reduce tokens afterwards.",
        )
    names = [f"blocks.{number}.{layer}" for number in range(model.config.depth) for layer in LAYERS]
    chosen = _ChosenRanks.of(model, names, images, settings)
    by_block = [
        LayerRanks(**{layer.rpartition(".")[2]: chosen.ranks[f"blocks.{number}.{layer}"] for layer in LAYERS})
        for number in range(model.config.depth)
    ]
    result = rebuilt(model, model.config.with_blocks(ranks=by_block))
    chosen.write_factors(model, result, images, settings, report)
    return result


def lower_module_ranks(
    module: nn.Module,
    images: torch.Tensor,
    settings: MixedRank,
    report: Callable[[str, int, float], None] = lambda layer, rank, error: None,
) -> nn.Module:
    """Return any module with linear layers of low rank (:class:`~mpcvit.models.low_rank.LowRank` in their places).

    Its last linear layer, and layers that are called more than once, stay as they are.

    Args:
        report: as for :func:`lower_ranks`.

    Raises:
        ConfigError: the reduction cannot be reached, or there is no such layer.
    """
    chosen = _ChosenRanks.of(module, module_layers(module, images), images, settings)
    result = copy.deepcopy(module)
    for name, rank in chosen.ranks.items():
        if rank:
            put_low_rank(result, name, rank)
    chosen.write_factors(module, result, images, settings, report)
    return result.eval()


@dataclass(frozen=True)
class _ChosenRanks:
    """Ranks by the names of layers, 0 for those that stay, and what they were chosen by."""

    ranks: dict[str, int]
    moments: dict[str, Moments]
    spectra: dict[str, Spectrum]

    @classmethod
    def of(cls, model: nn.Module, names: Sequence[str], images: torch.Tensor, settings: MixedRank) -> _ChosenRanks:
        moments = input_moments(model, names, images)
        weights = {name: _matrix(model, name)[0] for name in names}
        spectra = {name: output_spectrum(weight, moments[name]) for name, weight in weights.items()}
        candidates = [Candidate(len(weights[name]), weights[name].shape[1], spectra[name]) for name in names]
        saving = round(settings.reduction * sum(parameter.numel() for parameter in model.parameters()))
        return cls(dict(zip(names, allocate(candidates, saving, settings.step), strict=True)), moments, spectra)

    def write_factors(
        self,
        model: nn.Module,
        result: nn.Module,
        images: torch.Tensor,
        settings: MixedRank,
        report: Callable[[str, int, float], None],
    ) -> None:
        """Write the factors of all layers of low rank into ``result``."""
        for name, rank in self.ranks.items():
            if not rank:
                continue
            weight, bias = _matrix(model, name)
            if settings.compensation:
                error = _compensate(model, result, name, images, rank, settings)
            else:
                spectrum = weight_spectrum(weight) if settings.fit is FitTarget.WEIGHTS else self.spectra[name]
                mean = self.moments[name].mean if settings.fit is FitTarget.OUTPUTS else None
                factors = fit(weight, bias, spectrum, rank, mean)
                _write(result, name, factors)
                error = _relative_error(weight, bias, factors, self.moments[name], self.spectra[name])
            report(name, rank, error)


def _in_words(report: Notify) -> Callable[[str, int, float], None]:
    return lambda layer, rank, error: report(f"{layer}: rank {rank}, relative error {error:.2%}")


def _chooses_tokens(model: VisionTransformer) -> bool:
    """Return whether a compressed model may go on with other tokens than the original."""
    reductions = [block.reduction for block in model.config.blocks]
    return any(reduction is not None and reduction.kind.facts.selects for reduction in reductions)


def _compensate(
    model: nn.Module,
    result: nn.Module,
    name: str,
    images: torch.Tensor,
    rank: int,
    settings: MixedRank,
) -> float:
    """Fit a layer of ``result`` to what it wrote in ``model``; its relative squared error."""
    weight, bias = _matrix(model, name)
    before, now = inputs_of(model, name, images), inputs_of(result, name, images)
    if len(now) > _MOST_ROWS:
        chosen = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(now))[:_MOST_ROWS])
        before, now = before[chosen], now[chosen]
    outputs = (before.double() @ weight + bias).float()
    moments = Moments.of(now)
    spectrum = weight_spectrum(weight) if settings.fit is FitTarget.WEIGHTS else output_spectrum(weight, moments)
    kept = rank - settings.residual if rank > settings.residual else rank
    factors = fit(weight, bias, spectrum, kept, moments.mean)
    # what changes in the mean before the layer is made up for here
    factors = replace(factors, bias=factors.bias + outputs.double().mean(0) - (moments.mean @ weight + bias))
    if kept == rank:
        factors, error = descend(factors, now.float(), outputs, settings.compensation, settings.seed)
    else:
        start = weight @ spectrum.directions[:, kept:rank]
        factors, error = with_residual(factors, start, now.float(), outputs, settings.compensation, settings.seed)
    _write(result, name, factors)
    return error


def with_residual(
    factors: LowRankFactors,
    start: torch.Tensor,
    inputs_RI: torch.Tensor,
    outputs_RO: torch.Tensor,
    steps: int,
    seed: int,
) -> tuple[LowRankFactors, float]:
    """Return A B + P Q as one pair of factors, P and Q learnt on what A B leaves, and the error as :func:`descend`.

    Args:
        factors: A, B and a bias; the bias is learnt with P and Q.
        start: P at first [I, ranks]; Q is 0 then.
        inputs_RI, outputs_RO: as :func:`descend` takes them.
    """
    left = outputs_RO - inputs_RI @ (factors.first @ factors.second).float()
    nothing = start.new_zeros(start.shape[1], outputs_RO.shape[1])
    learnt, error = descend(LowRankFactors(start, nothing, factors.bias), inputs_RI, left, steps, seed)
    variances = [float((rows - rows.mean(0)).square().mean()) for rows in (left, outputs_RO)]
    joined = LowRankFactors(
        torch.cat([factors.first, learnt.first], dim=1), torch.cat([factors.second, learnt.second]), learnt.bias
    )
    return joined, error * variances[0] / variances[1] if variances[1] > 0 else 0.0


def descend(
    factors: LowRankFactors, inputs_RI: torch.Tensor, outputs_RO: torch.Tensor, steps: int, seed: int
) -> tuple[LowRankFactors, float]:
    """Return factors after gradient steps on the squared error of their outputs, and that error relative to the
    variance.

    Adam with a rate that falls along a cosine; on all rows never worse than ``factors``.

    Args:
        inputs_RI: float32.
        outputs_RO: what is wanted for them, float32.
    """
    rng = np.random.default_rng(seed)
    learnt = [part.float().clone().requires_grad_() for part in (factors.first, factors.second, factors.bias)]
    sizes = [_size(part.detach()) for part in learnt]
    rates = zip(learnt, sizes, strict=True)
    optimizer = torch.optim.Adam([{"params": [part], "lr": _RATE * size} for part, size in rates])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    variance = float((outputs_RO - outputs_RO.mean(0)).square().mean())

    def error(parts: list[torch.Tensor], rows: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        first, second, bias = parts
        return nn.functional.mse_loss(inputs_RI[rows] @ first @ second + bias, outputs_RO[rows])

    start = [part.detach().clone() for part in learnt]
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.from_numpy(rng.integers(0, len(inputs_RI), min(_ROWS, len(inputs_RI))))
            optimizer.zero_grad()
            error(learnt, rows).backward()
            optimizer.step()
            schedule.step()
    best = min(([part.detach() for part in learnt], start), key=lambda parts: float(error(parts)))
    return LowRankFactors(*(part.double() for part in best)), float(error(best)) / variance if variance > 0 else 0.0


def _size(part: torch.Tensor) -> float:
    """Return the root mean square of what is learnt; of a matrix of zeros, that of rows of length 1."""
    size = float(part.square().mean().sqrt())
    return float(part.shape[-1] ** -0.5) if part.ndim == 2 and size == 0 else max(size, 1e-6)


def _matrix(model: nn.Module, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a layer's weight [I, O] and bias, float64."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)  # noqa: S101 - checked before
    weight = layer.weight.detach().double().T
    # torch's stubs forget that there may be none
    return weight, weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach().double()


def _write(result: nn.Module, name: str, factors: LowRankFactors) -> None:
    layer = result.get_submodule(name)
    assert isinstance(layer, LowRank)  # noqa: S101 - made so
    with torch.no_grad():
        layer.down.weight.copy_(factors.first.T)
        layer.up.weight.copy_(factors.second.T)
        layer.up.bias.copy_(factors.bias)


def _relative_error(
    weight: torch.Tensor, bias: torch.Tensor, factors: LowRankFactors, moments: Moments, spectrum: Spectrum
) -> float:
    """Return the squared error of the outputs relative to their variance."""
    lost = weight - factors.first @ factors.second
    mean = moments.mean @ lost + bias - factors.bias
    squared = float((lost * (moments.covariance @ lost)).sum() + mean.square().sum())
    total = float(spectrum.energies.sum())
    return squared / total if total > 0 else 0.0
