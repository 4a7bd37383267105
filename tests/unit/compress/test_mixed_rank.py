"""Layers of low rank: the fit against alternatives, the allocation against brute force, the pass on tiny models."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.fitting.calibration import LAYERS, Moments, input_moments, inputs_of
from mpcvit.compress.fitting.low_rank_fit import LowRankFactors, Spectrum, fit, output_spectrum, weight_spectrum
from mpcvit.compress.fitting.rank_allocation import Candidate, allocate
from mpcvit.compress.passes import mixed_rank
from mpcvit.compress.passes.mixed_rank import FitTarget, MixedRank, descend, lower_ranks, with_residual
from mpcvit.errors import ConfigError, InputError
from mpcvit.models.block import LayerRanks
from mpcvit.models.kinds import ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE
from tests.support.models import make_model

CONFIG = varied(BASE, dim=24, hidden=48, lepe=2)


def _layer(inputs: int = 9, outputs: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight [I, O], a bias, and rows whose directions differ much in size and whose mean is not 0."""
    torch.manual_seed(0)
    rows = torch.randn(400, inputs) @ torch.randn(inputs, inputs) * torch.linspace(3, 0.1, inputs) + torch.randn(inputs)
    return torch.randn(inputs, outputs).double(), torch.randn(outputs).double(), rows.double()


def _error(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, factors: LowRankFactors) -> float:
    wanted = rows @ weight + bias
    return float((wanted - (rows @ factors.first @ factors.second + factors.bias)).square().sum(1).mean())


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_no_other_factors_are_nearer(rank: int) -> None:
    """The error is that of the spectrum's rest; neither plain SVD, nor random subspaces, nor descent get below it."""
    weight, bias, rows = _layer()
    moments = Moments.of(rows)
    spectrum = output_spectrum(weight, moments)
    best = fit(weight, bias, spectrum, rank, moments.mean)
    least = _error(rows, weight, bias, best)
    assert least == pytest.approx(float(spectrum.energies[rank:].sum()), rel=1e-5)
    plain = fit(weight, bias, weight_spectrum(weight), rank, None)
    u, s, v = torch.linalg.svd(weight)
    assert torch.allclose(plain.first @ plain.second, u[:, :rank] * s[:rank] @ v[:rank], atol=1e-10)
    assert torch.equal(plain.bias, bias)
    assert least < 0.9 * _error(rows, weight, bias, plain)
    for _ in range(50):
        directions = torch.linalg.qr(torch.randn(7, rank).double()).Q
        other = fit(weight, bias, Spectrum(spectrum.energies, directions), rank, moments.mean)
        assert _error(rows, weight, bias, other) > least
    start = fit(weight, bias, weight_spectrum(weight), rank, moments.mean)
    learnt, relative = descend(start, rows.float(), (rows @ weight + bias).float(), 400, 0)
    assert least * (1 - 1e-4) < _error(rows, weight, bias, learnt) < 1.2 * least + 0.02
    variance = float((rows @ weight).var(0, unbiased=False).sum())
    assert relative == pytest.approx(_error(rows, weight, bias, learnt) / variance, rel=1e-3)


@pytest.mark.parametrize(("inputs", "outputs"), [(9, 7), (5, 12)])
def test_full_rank_is_exact_on_any_input(inputs: int, outputs: int) -> None:
    """Also along directions that calibration data do not have."""
    weight, bias, rows = _layer(inputs, outputs)
    moments = Moments.of(rows[:3])
    full = fit(weight, bias, output_spectrum(weight, moments), min(inputs, outputs), moments.mean)
    assert torch.allclose(full.first @ full.second, weight, atol=1e-6)
    assert torch.allclose(full.bias, bias, atol=1e-6)


def test_descent_never_makes_it_worse() -> None:
    """At the optimum, steps that lead away from it are not taken."""
    weight, bias, rows = _layer()
    moments = Moments.of(rows)
    best = fit(weight, bias, output_spectrum(weight, moments), 3, moments.mean)
    learnt, _ = descend(best, rows.float(), (rows @ weight + bias).float(), 3, 0)
    assert _error(rows, weight, bias, learnt) == pytest.approx(_error(rows, weight, bias, best), rel=1e-4)


def test_a_second_tensor_is_learnt_beside_factors_that_stay() -> None:
    """A B + P Q: A and B are in the result as they were, P Q lowers the error towards the optimum of the whole rank."""
    weight, bias, rows = _layer()
    moments, outputs = Moments.of(rows), (rows @ weight + bias).float()
    spectrum = output_spectrum(weight, moments)
    base, best = (fit(weight, bias, spectrum, rank, moments.mean) for rank in (2, 4))
    start = weight @ spectrum.directions[:, 2:4]
    joined, relative = with_residual(base, start, rows.float(), outputs, 400, 0)
    assert torch.equal(joined.first[:, :2], base.first)
    assert torch.equal(joined.second[:2], base.second)
    error, least, most = (_error(rows, weight, bias, factors) for factors in (joined, best, base))
    assert least * (1 - 1e-4) < error < least + 0.1 * (most - least)
    variance = float((rows @ weight).var(0, unbiased=False).sum())
    assert relative == pytest.approx(error / variance, rel=1e-2)
    unlearnt, _ = with_residual(base, start, rows.float(), outputs, 0, 0)
    assert torch.allclose(unlearnt.first @ unlearnt.second, base.first @ base.second)


def test_learnt_ranks_are_part_of_the_rank() -> None:
    """The pass saves as many parameters with a second tensor as without, and what it writes is A B + P Q."""
    model, images = make_model(CONFIG), make_images(CONFIG, 64)
    settings = MixedRank(reduction=0.3, step=2, compensation=20, residual=1)
    learnt = compress(model, settings, images)
    plain = compress(model, replace(settings, residual=0), images)
    assert learnt.config == plain.config
    assert _logit_error(model, learnt) < 2 * _logit_error(model, plain)
    with pytest.raises(ConfigError, match="gradient steps for ranks"):
        MixedRank(reduction=0.3, residual=1)


def _candidate(inputs: int, outputs: int, *energies: float) -> Candidate:
    return Candidate(inputs, outputs, Spectrum(torch.tensor(energies, dtype=torch.float64), torch.eye(len(energies))))


def test_allocation_is_nearly_the_best_of_all() -> None:
    """Against every combination of ranks: enough is saved, and the error is at most a step above the least."""
    torch.manual_seed(1)
    layers = [
        _candidate(10, 8, *torch.rand(8).exp().pow(3).sort(descending=True).values.tolist()),
        _candidate(6, 12, *(100.0, 10.0, 1.0, 0.1, 0.01, 0.001)),
        _candidate(8, 8, *(1.0,) * 8),
    ]
    for saving in (20, 60, 100, 130):
        ranks = allocate(layers, saving, 1)
        got = sum(layer.error(rank) for layer, rank in zip(layers, ranks, strict=True))
        every = itertools.product(*([0, *layer.ranks(1)] for layer in layers))
        enough = [choice for choice in every if _saved(layers, choice) >= saving]
        least = min(sum(layer.error(rank) for layer, rank in zip(layers, choice, strict=True)) for choice in enough)
        assert _saved(layers, ranks) >= saving
        assert least <= got + 1e-12
        assert got <= least + 0.13
    assert ranks[1] in (1, 2)  # the layer whose spectrum falls fastest gives most


def _saved(layers: list[Candidate], ranks: tuple[int, ...] | list[int]) -> int:
    return sum(layer.weights(0) - layer.weights(rank) for layer, rank in zip(layers, ranks, strict=True))


def test_ranks_stay_below_break_even() -> None:
    """768 x 768 breaks even at 384: that rank saves nothing; steps are kept; what cannot be saved is refused."""
    layer = _candidate(768, 768, *(1.0,) * 768)
    assert layer.ranks(1)[-1] == 383
    assert list(layer.ranks(128)) == [128, 256]
    assert layer.weights(384) == layer.weights(0)
    with pytest.raises(ConfigError, match="at most 393,216"):
        allocate([layer], 393_217, 128)
    assert allocate([layer], 393_216, 128) == [128]
    assert allocate([layer], 1, 128) == [256]


def test_moments_are_those_of_what_layers_read() -> None:
    """One pass over all layers and a forward pass to one layer agree, also over several batches."""
    model, images = make_model(CONFIG), make_images(CONFIG, 70)
    names = [f"blocks.{number}.{layer}" for number in range(2) for layer in LAYERS]
    moments = input_moments(model, names, images)
    for name in names:
        rows = inputs_of(model, name, images).double()
        assert rows.shape == (70 * 9, model.get_submodule(name).in_features)
        assert torch.allclose(moments[name].mean, rows.mean(0), atol=1e-9)
        assert torch.allclose(moments[name].covariance, rows.T.cov(correction=0), atol=1e-6)
    with torch.no_grad():
        hidden = model.blocks[0].norm1(model.intermediates(images)[1]["embed"])
    assert torch.allclose(inputs_of(model, "blocks.0.attn.qkv", images), hidden.flatten(0, 1), atol=1e-6)


def _logit_error(model: VisionTransformer, other: VisionTransformer) -> float:
    images = make_images(CONFIG, 64, seed=9)
    with torch.no_grad():
        return float((model(images) - other(images)).square().mean())


def test_the_pass_saves_what_is_asked_and_fits_better_than_plain_svd() -> None:
    """Parameters fall by the share asked for; outputs keep nearer than plain SVD's, nearer still when compensated."""
    model, images = make_model(CONFIG), make_images(CONFIG, 128)
    count = sum(parameter.numel() for parameter in model.parameters())
    settings = MixedRank(reduction=0.3, step=1)
    results = [
        compress(model, settings, images),
        compress(model, replace(settings, fit=FitTarget.WEIGHTS), images),
        compress(model, replace(settings, compensation=150), images),
    ]
    for result in results:
        assert column(result.config, "ranks") == column(results[0].config, "ranks")
        assert 0.69 * count < sum(parameter.numel() for parameter in result.parameters()) <= 0.7 * count
        assert not result.training
    best, plain, compensated = (_logit_error(model, result) for result in results)
    assert compensated < best < plain
    again = compress(model, replace(settings, compensation=150), images)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), results[2].parameters(), strict=True))
    assert column(model.config, "ranks") == (LayerRanks(), LayerRanks())


@pytest.mark.parametrize("settings", [MixedRank(reduction=0.2), MixedRank(reduction=0.2, compensation=2)])
def test_layers_are_reported(settings: MixedRank) -> None:
    """Every layer that changes is reported once, in order, with its rank and error."""
    model, images, lines = make_model(CONFIG), make_images(CONFIG, 32), []
    result = lower_ranks(model, images, settings, lambda *line: lines.append(line))
    ranks = {f"blocks.{n}.attn.qkv": r.qkv for n, r in enumerate(column(result.config, "ranks"))}
    assert all(rank % 4 == 0 and rank > 0 and 0 < error < 1 for _, rank, error in lines)
    assert [name for name, _, _ in lines] == sorted((name for name, _, _ in lines), key=_position)
    assert all(ranks[name] == rank for name, rank, _ in lines if name in ranks)


def _position(name: str) -> tuple[int, int]:
    _, number, layer = name.split(".", 2)
    return int(number), LAYERS.index(layer)


def test_wrong_settings_and_models_are_refused() -> None:
    """Numbers out of range, models that are compressed already, pictures of another size."""
    for wrong in ({"reduction": 0.0}, {"reduction": 1.0}, {"step": 0}, {"compensation": -1}):
        with pytest.raises(ConfigError, match="reduction"):
            MixedRank(**{"reduction": 0.5, **wrong})
    images, settings = make_images(CONFIG, 8), MixedRank(reduction=0.2)
    with pytest.raises(ConfigError, match="at most"):
        compress(make_model(CONFIG), MixedRank(reduction=0.99), images)
    with pytest.raises(ConfigError, match="low rank before"):
        compress(make_model(varied(CONFIG, ranks=(LayerRanks(qkv=3), LayerRanks()))), settings, images)
    with pytest.raises(ConfigError, match="share weights before"):
        compress(make_model(varied(CONFIG, owners=(0, 0))), settings, images)
    chosen = make_model(
        varied(CONFIG, lepe=0, class_token=True, reduction=(Reduction(kind=ReductionKind.EVIT, keep=5), None))
    )
    assert any(vars(ranks)["fc1"] for ranks in column(compress(chosen, settings, images).config, "ranks"))
    with pytest.raises(ConfigError, match="chooses its tokens"):
        compress(chosen, replace(settings, compensation=1), images)
    with pytest.raises(InputError, match="pictures of shape"):
        compress(make_model(CONFIG), settings, images[:, :, :8])
    assert settings.to_json() == {
        "pass": "mixed_rank",
        "reduction": 0.2,
        "step": 4,
        "fit": "outputs",
        "compensation": 0,
        "residual": 0,
        "seed": 0,
    }


def test_compensation_reads_tokens_at_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more rows than it takes, it takes some of every token, not every other token of all pictures."""
    model, images = make_model(CONFIG), make_images(CONFIG, 60)
    taken: list[torch.Tensor] = []

    def recorded(factors: LowRankFactors, inputs: torch.Tensor, *rest: object) -> tuple[LowRankFactors, float]:
        taken.append(inputs)
        return factors, 0.0

    monkeypatch.setattr(mixed_rank, "_MOST_ROWS", 180)
    monkeypatch.setattr(mixed_rank, "descend", recorded)
    lower_ranks(model, images, MixedRank(reduction=0.3, step=1, compensation=1))
    rows = inputs_of(model, "blocks.0.attn.qkv", images)
    places = torch.cdist(taken[0].double(), rows.double()).argmin(1) % CONFIG.tokens
    assert len(places) == 180
    assert set(places.tolist()) == set(range(CONFIG.tokens))
