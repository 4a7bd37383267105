"""Zero blocks: distortion against the definition, allocation against brute force, the pass on a tiny model."""

from __future__ import annotations

import itertools

import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.fitting.calibration import Moments, input_moments, inputs_of
from mpcvit.compress.passes.lpvit import Curve, Distortion, LPViT, answer_distortion, equal_slopes, refitted
from mpcvit.errors import ConfigError
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE
from tests.support.models import make_model

CONFIG = varied(BASE, dim=20, hidden=30, heads=(column(BASE, "heads")[0],) * 2)
IMAGES = make_images(CONFIG, 96)


def test_distortion_is_the_error_of_outputs() -> None:
    """At every level: the mean squared change of outputs, means put back, in parts of the outputs' variance."""
    torch.manual_seed(0)
    rows = (torch.randn(300, 7) @ torch.randn(7, 7) + 2).double()
    weight = torch.randn(7, 10).double()
    curve = Curve.of(weight, Moments.of(rows).covariance, 4)
    variance = float((rows @ weight).var(0, unbiased=False).sum())
    assert curve.counts[0] == 0
    assert curve.counts[-1] == 2 * 3  # blocks of 4 in 7 x 10: the last row and column of blocks are smaller
    assert curve.zeros[-1] == 70
    worst = 0.0
    for level in range(len(curve.counts)):
        lost = rows @ torch.where(curve.mask(level), 0.0, weight)
        worst = max(worst, float((lost - lost.mean(0)).square().sum(1).mean()) / variance)
        assert curve.distortion[level] == pytest.approx(worst, abs=1e-9)
        sizes = {(int(part.sum()), part.numel()) for part in _blocks(curve.mask(level), 4)}
        assert all(kept in (0, whole) for kept, whole in sizes)


def _blocks(mask: torch.Tensor, side: int) -> list[torch.Tensor]:
    return [part for rows in mask.split(side) for part in rows.split(side, dim=1)]


def test_one_slope_is_the_best_allocation() -> None:
    """No other combination of levels with as many zeros has less distortion."""
    torch.manual_seed(1)
    curves = {}
    for name, exponent in (("a", 1.0), ("b", 0.1), ("c", 3.0)):
        rows = torch.randn(100, 6).double() * torch.rand(6) ** exponent
        curves[name] = Curve.of(torch.randn(6, 6).double(), Moments.of(rows).covariance, 3)
    for zeros in (9, 40, 70, 100):
        levels = equal_slopes(curves, zeros, 0.0)
        got = sum(curves[name].zeros[level] for name, level in levels.items())
        distortion = sum(curves[name].distortion[level] for name, level in levels.items())
        assert got >= zeros
        for other in itertools.product(*(range(len(curve.counts)) for curve in curves.values())):
            pairs = list(zip(curves.values(), other, strict=True))
            if sum(curve.zeros[level] for curve, level in pairs) >= got:
                assert sum(curve.distortion[level] for curve, level in pairs) >= distortion - 1e-12
    assert all(curves[name].zeros[level] >= 36 * 0.3 for name, level in equal_slopes(curves, 40, 0.3).items())


def test_no_other_weights_at_these_places_are_nearer() -> None:
    """The fit is the least squares solution of every column on the rows that it keeps."""
    torch.manual_seed(2)
    rows, weight = (torch.randn(200, 6) @ torch.randn(6, 6)).double(), torch.randn(6, 8).double()
    covariance = Moments.of(rows).covariance
    kept = (torch.rand(2, 2) > 0.4).repeat_interleave(3, 0).repeat_interleave(4, 1)
    kept[:, 4:] = False  # a column that keeps nothing
    fitted = refitted(weight, kept, covariance)
    assert (fitted[~kept] == 0).all()
    centred = rows - rows.mean(0)
    for place in range(8):
        chosen = kept[:, place]
        best = torch.linalg.lstsq(centred[:, chosen], centred @ weight[:, place : place + 1]).solution[:, 0]
        assert torch.allclose(fitted[chosen, place], best, atol=1e-3)
    assert torch.allclose(refitted(weight, torch.ones_like(kept), covariance), weight, atol=1e-9)


def test_the_pass_zeroes_blocks_in_place() -> None:
    """As many weights as asked for, in whole blocks, means kept; nearer than blocks by size."""
    model = make_model(CONFIG)
    result = compress(model, LPViT(sparsity=0.4, block=5), IMAGES)
    assert result.config == model.config
    layers = [name for name, _ in model.named_modules() if name.endswith(("qkv", "proj", "fc1", "fc2"))]
    shares = []
    for name in layers:
        mask = result.get_submodule(name).weight != 0
        assert all(int(part.sum()) in (0, part.numel()) for part in _blocks(mask, 5))
        shares.append(1 - float(mask.float().mean()))
        inputs = inputs_of(model, name, IMAGES)
        with torch.no_grad():
            means = [one.get_submodule(name)(inputs).mean(0) for one in (model, result)]
        assert torch.allclose(*means, atol=1e-4)
    sizes = torch.tensor([model.get_submodule(name).weight.numel() for name in layers], dtype=torch.float64)
    total = float((torch.tensor(shares, dtype=torch.float64) * sizes).sum() / sizes.sum())
    assert 0.4 <= total < 0.45
    assert min(shares) >= 0.05
    assert _answers_apart(model, result) < _answers_apart(model, _by_size(model, layers))


def test_answers_are_what_distortion_is_measured_on() -> None:
    """At a sample: the change of the logits when one layer loses its blocks; between samples lines, never falling."""
    model, name = make_model(CONFIG), "blocks.1.mlp.fc2"
    moments = input_moments(model, [name], IMAGES)[name]
    layer = model.get_submodule(name)
    curve = Curve.of(layer.weight.detach().double().T, moments.covariance, 5)
    found = answer_distortion(model, name, curve, moments, IMAGES, 3)
    assert len(found) == len(curve.counts)
    assert found[0] == 0
    assert found == sorted(found)
    with torch.no_grad():
        before = model(IMAGES).double()
        damaged = make_model(CONFIG)
        other, middle = damaged.get_submodule(name), (len(curve.counts) - 1) // 2
        gone = ~curve.mask(middle).T
        other.bias.add_((layer.weight.double() * gone @ moments.mean).float())
        other.weight.masked_fill_(gone, 0.0)
        change = (damaged(IMAGES).double() - before).square().mean() / (before - before.mean(0)).square().mean()
    assert found[middle] == pytest.approx(float(change), rel=1e-4)
    quarter = middle // 2
    share = curve.zeros[quarter] / curve.zeros[middle]
    assert found[quarter] == pytest.approx(share * found[middle], rel=1e-6)


def test_answers_and_outputs_spend_the_budget_differently() -> None:
    """A layer that nobody reads loses more where answers count."""
    model = make_model(CONFIG)
    with torch.no_grad():
        model.blocks[1].mlp.fc2.weight.mul_(1e-3)  # what fc1 writes hardly matters, although it varies as before
    shares = {}
    for distortion in Distortion:
        result = compress(model, LPViT(sparsity=0.4, block=5, distortion=distortion), IMAGES)
        shares[distortion] = float((result.blocks[1].mlp.fc1.weight == 0).float().mean())
    assert shares[Distortion.ANSWERS] > shares[Distortion.OUTPUTS]


def _by_size(model: torch.nn.Module, layers: list[str]) -> torch.nn.Module:
    """The 40 % of blocks of each layer with the least norm, zeroed."""
    other = make_model(CONFIG)
    for name in layers:
        weight = other.get_submodule(name).weight.data
        parts = _blocks(weight, 5)
        for part in sorted(parts, key=lambda part: float(part.norm()))[: round(0.4 * len(parts))]:
            part.zero_()
    return other


def _answers_apart(model: torch.nn.Module, other: torch.nn.Module) -> float:
    images = make_images(CONFIG, 64, seed=5)
    with torch.no_grad():
        return float((model(images) - other(images)).square().mean())


def test_wrong_settings_are_refused() -> None:
    """Shares out of range, empty blocks."""
    for wrong in ({"sparsity": 0.0}, {"sparsity": 1.0}, {"least": 0.6}, {"block": 0}):
        with pytest.raises(ConfigError, match="sparsity"):
            LPViT(**{"sparsity": 0.5, **wrong})
