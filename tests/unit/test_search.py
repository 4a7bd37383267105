"""The MPC-aware search: prices, discretisation, Pareto set, report, samplers and the smoke preset on tiny models."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import struct
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.export.builder import Precision
from mpcvit.link_profile import LOOPBACK, PROFILES, WAN, LinkProfile
from mpcvit.models.config import (
    Activation,
    AttentionKind,
    Gate,
    GateAxis,
    Norm,
    Reduction,
    ReductionKind,
    ViTConfig,
)
from mpcvit.models.files import load_model, save_model
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.objective import objective
from mpcvit.program.plan import make_plan
from mpcvit.program.program import Program
from mpcvit.search.amounts import plan_amounts
from mpcvit.search.anneal import Annealing, step
from mpcvit.search.discretise import keep_largest, keep_top, kept_count, largest_within
from mpcvit.search.linearise import gate_weights, gates_by_mu
from mpcvit.search.pareto import pareto_set
from mpcvit.search.presets import PRESETS, Preset, Stage, preset
from mpcvit.search.price import Price, PriceTable, random_program
from mpcvit.search.proxy import Outcome, Rival, hopeless
from mpcvit.search.relaxed import Penalised, RelaxedViT, hardened
from mpcvit.search.report import PARETO_FILE, PLOT_FILE, REPORT_FILE, Report
from mpcvit.search.run import Search, pictures_for
from mpcvit.search.sampler import Method, Sampler
from mpcvit.search.space import Space
from mpcvit.search.supernet import blocks_by_mu, head_weights, heads_by_mu
from mpcvit.search.synthetic import synthetic_pictures
from mpcvit.search.training_free import Merit, merit, scores, select
from mpcvit.search.trial import Trial
from mpcvit.search.workers import Workers, workers
from mpcvit.train.config import ObjectiveName, Pipeline, Start, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.optimizer import make_optimizer

SM, RS, SC = AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING
GELU, RELU, NONE = Activation.GELU, Activation.RELU, Activation.IDENTITY


def config(heads: tuple[AttentionKind, ...] = (RS, RS), activation: Activation = RELU, depth: int = 2) -> ViTConfig:
    """A model for 8 x 8 pictures."""
    return ViTConfig(
        image_size=8,
        patch_size=2,
        classes=4,
        dim=16,
        hidden=24,
        heads=(heads,) * depth,
        activations=(activation,) * depth,
    )


#: Coarse splines of normalisers are fitted in a quarter of the time.
COARSE = Precision(margin=1.5, relative=2.0**-6)


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of probes that the tests share."""
    return tmp_path_factory.mktemp("prices")


def table(
    profile: LinkProfile, folder: Path | None = None, on_probe: Callable[[str], None] = lambda what: None
) -> PriceTable:
    """Prices of coarse exports."""
    return PriceTable(profile, folder, on_probe, COARSE)


@pytest.fixture
def prices(probes: Path) -> PriceTable:
    """Prices on a WAN."""
    return table(WAN, probes)


# -- prices ----------------------------------------------------------------------------------------------------------


_MIXED = replace(
    config(depth=3),
    heads=((SM, SM), (RS, SC), (SC, SC)),
    activations=(RELU, NONE, RELU),
    norms=((Norm.LAYERNORM, Norm.LAYERNORM), (Norm.LAYERNORM, Norm.BATCHNORM), (Norm.LAYERNORM, Norm.LAYERNORM)),
    gates=(None, None, Gate(axis=GateAxis.TOKEN, kept=(1, 4, 9))),
)

_UNEQUAL = replace(
    config(depth=3), head_width=6, heads=((RS, RS, SC), (SC,), (SC,)), hiddens=(40, 9, 9), sharing=(0, 1, 1), lepe=3
)


@cache
def whole_program(whole: ViTConfig) -> Program:
    """Its own coarse export."""
    return random_program(whole, COARSE)


@pytest.mark.parametrize("name", PROFILES)
def test_parts_add_up_to_the_plan(name: str) -> None:
    """The parts of a plan have together exactly its rounds, bytes, multiplications and material."""
    plan = make_plan(whole_program(_MIXED), objective(name))
    total, cost = plan_amounts(plan).total, fast_cost(plan)
    assert total.rounds == cost.total.rounds - cost.setup.rounds
    assert total.bytes_sent == cost.total.bytes_sent[0] - cost.setup.bytes_sent[0]
    assert total.material_bytes == sum(plan.material)
    assert total.macs >= cost.total.macs
    assert total.steps == len(plan.steps)


@pytest.mark.parametrize("name", ["wan", "loopback"])
@pytest.mark.parametrize(
    "whole", [_MIXED, replace(config(), class_token=True), _UNEQUAL], ids=["mixed", "class_token", "unequal"]
)
def test_prices_add_up_over_blocks(probes: Path, whole: ViTConfig, name: str) -> None:
    """A price put together from probes is within 3 % of that of the whole model's own export."""
    profile = PROFILES[name]
    exported = Price.of(plan_amounts(make_plan(whole_program(whole), objective(name))), profile)
    predicted = table(profile, probes).price(whole)
    assert predicted.seconds == pytest.approx(exported.seconds, rel=0.03)
    assert predicted.rounds == pytest.approx(exported.rounds, abs=whole.depth)
    assert [part for part, _ in predicted.parts] == [part for part, _ in exported.parts]
    assert sum(seconds for _, seconds in predicted.parts) == pytest.approx(predicted.seconds)


@pytest.mark.parametrize("kind", [ReductionKind.EVIT, ReductionKind.SPVIT])
def test_reduced_models_are_priced_whole(prices: PriceTable, kind: ReductionKind) -> None:
    """Selecting tokens shows in the price: exactly the plan's rounds and bytes, and less work behind it."""
    whole = replace(config(depth=2), reductions=(Reduction(kind=kind, keep=6), None))
    price, plan = prices.price(whole), make_plan(whole_program(whole), objective("wan"))
    assert (price.rounds, price.bytes_sent) == (len(plan.messages), sum(plan.messages))
    assert price.material_bytes == sum(plan.material)
    assert (
        prices.amounts(whole).blocks[1].total.elements
        < prices.amounts(replace(whole, reductions=())).blocks[1].total.elements / 2
    )


def test_prices_grow_with_what_is_dear(prices: PriceTable) -> None:
    """On a WAN: softmax over relu_softmax over scaling, an activation over none, and depth."""
    by_kind = [prices.seconds(config((kind, kind))) for kind in (SM, RS, SC)]
    assert by_kind == sorted(by_kind, reverse=True)
    assert len(set(by_kind)) == 3
    assert prices.seconds(config(activation=NONE)) < prices.seconds(config())
    assert prices.seconds(config(depth=3)) > prices.seconds(config())


def test_heads_of_a_block_share_rounds(prices: PriceTable) -> None:
    """A cheap head beside a dear one saves bytes, but no round; only a whole block of cheap heads does."""
    dear, mixed, cheap = (prices.price(config(heads)) for heads in ((RS, RS), (RS, SC), (SC, SC)))
    assert dear.rounds == mixed.rounds > cheap.rounds
    assert dear.bytes_sent > mixed.bytes_sent > cheap.bytes_sent


def test_order_of_heads_does_not_matter(prices: PriceTable) -> None:
    """Heads of a block may be permuted."""
    assert prices.price(config((RS, SC))) == prices.price(config((SC, RS)))


def test_prices_are_kept(probes: Path, prices: PriceTable) -> None:
    """A second table exports nothing and says the same; a network further away is dearer."""
    first = prices.price(config())
    asked: list[str] = []
    again = table(WAN, probes, asked.append)
    assert again.price(config()) == first
    assert not asked
    assert table(LOOPBACK, probes, asked.append).seconds(config()) < first.seconds
    assert not asked
    assert Price.from_json(json.loads(json.dumps(first.to_json()))) == first


# -- discretisation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "kept"), [(28, {0.1: 3, 0.3: 9, 0.5: 14, 0.7: 20}), (108, {0.1: 11, 0.3: 33, 0.5: 54, 0.7: 76})]
)
def test_heads_kept_are_those_of_mpcvit(total: int, kept: dict[float, int]) -> None:
    """MPCViT's index formula: all but the floor((1 - mu) LH) smallest."""
    assert {mu: kept_count(total, mu) for mu in kept} == kept
    alphas = torch.rand(total // 4, 4).unbind()
    for mu, count in kept.items():
        assert sum(map(sum, keep_top(alphas, mu))) == count


def test_rounding_of_products_drops_no_head() -> None:
    """(1 - 0.7) * 30 is a hair below 9 in float64, and 9 heads are dropped."""
    assert kept_count(30, 0.7) == 21
    assert (kept_count(10, 0.0), kept_count(10, 1.0)) == (0, 10)


def test_the_largest_are_kept_globally() -> None:
    """Magnitudes count, over all blocks together; ties go to the first."""
    values = [torch.tensor([0.9, -0.8]), torch.tensor([0.1, 0.8])]
    assert keep_largest(values, 2) == [[True, True], [False, False]]
    assert keep_largest(values, 0) == [[False, False]] * 2


def test_largest_count_within_a_budget() -> None:
    """Found by bisection, at all budgets."""
    for budget in range(12):
        assert largest_within(10, budget, lambda kept: kept) == min(budget, 10)
    assert largest_within(10, -1, lambda kept: kept) == 0


# -- relaxed models --------------------------------------------------------------------------------------------------


def relaxed(axis: GateAxis | None = GateAxis.TOKEN) -> RelaxedViT:
    """A relaxed model of two blocks of two heads."""
    torch.manual_seed(0)
    return RelaxedViT(config(), pair=(RS, SC), gate_axis=axis)


def test_alphas_begin_at_one() -> None:
    """A relaxed model begins as the model with everything on."""
    model, images = relaxed().eval(), torch.randn(3, 3, 8, 8)
    plain = hardened(model, model.config).eval()
    assert torch.allclose(model(images), plain(images), atol=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_binary_switches_are_the_hardened_model(mu: float) -> None:
    """With switches at 0 and 1 the relaxed model computes what the configuration that they stand for computes."""
    model, images = relaxed().eval(), torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        for switch in [*model.head_switches, *model.gate_switches]:
            switch.copy_(torch.rand_like(switch))
    chosen = replace(gates_by_mu(model, mu), heads=heads_by_mu(model, mu).heads)
    model.freeze("heads", keep_top(model.head_switches, mu))
    model.freeze("gates", keep_top(model.gate_switches, mu))
    assert torch.allclose(model(images), hardened(model, chosen).eval()(images), atol=1e-5)


@pytest.mark.parametrize("axis", list(GateAxis))
def test_switches_learn_in_bfloat16(axis: GateAxis) -> None:
    """Under autocast, which gives products another number format than switches have."""
    model, images = relaxed(axis).train(), torch.randn(3, 3, 8, 8)
    exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()
    logits.float().square().mean().backward()
    for switch in [*model.head_switches, *model.gate_switches]:
        assert switch.grad is not None
        assert switch.grad.abs().sum() > 0


def test_learnt_kernels_are_carried_over() -> None:
    """Parameters of a kind, one per head, go along with the heads that keep it."""
    model = RelaxedViT(config((SM, SM)), pair=(SM, AttentionKind.QUAD2)).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".scale"):
                parameter.copy_(torch.rand_like(parameter))
        model.head_switches[0].copy_(torch.tensor([0.0, 1.0]))
        model.head_switches[1].copy_(torch.tensor([1.0, 0.0]))
    chosen = heads_by_mu(model, 0.5)
    assert chosen.heads == ((AttentionKind.QUAD2, SM), (SM, AttentionKind.QUAD2))
    assert torch.allclose(model(images), hardened(model, chosen).eval()(images), atol=1e-5)


def test_unequal_blocks_are_relaxed_each_in_its_size() -> None:
    """Blocks have as many switches as heads and channels; frozen, they are the hardened model, also from a file."""
    unequal = replace(config(), head_width=5, heads=((RS, RS, RS), (RS,)), hiddens=(7, 11))
    model, images = RelaxedViT(unequal, pair=(RS, SC), gate_axis=GateAxis.CHANNEL).eval(), torch.randn(2, 3, 8, 8)
    assert [switch.numel() for switch in [*model.head_switches, *model.gate_switches]] == [3, 1, 7, 11]
    with torch.no_grad():
        for switch in [*model.head_switches, *model.gate_switches]:
            switch.copy_(torch.rand_like(switch))
    chosen = replace(gates_by_mu(model, 0.5), heads=heads_by_mu(model, 0.5).heads)
    for group, switches in model.switches.items():
        model.freeze(group, keep_top(switches, 0.5))
        assert model.is_frozen(group)
    again = RelaxedViT(unequal, pair=(RS, SC), gate_axis=GateAxis.CHANNEL).eval()
    again.load_state_dict(model.state_dict())
    assert torch.allclose(again(images), hardened(model, chosen).eval()(images), atol=1e-5)
    assert blocks_by_mu(model, 1.0).heads == unequal.heads


def test_blocks_that_share_weights_are_not_searched() -> None:
    """Neither relaxed nor sampled: a choice per block, or another width, would take them apart."""
    shared = replace(config(), sharing=(0, 0))
    with pytest.raises(ConfigError, match="share weights"):
        RelaxedViT(shared, pair=(RS, SC))
    with pytest.raises(ConfigError, match="compressed model"):
        Space(base=shared, kinds=(RS,), activations=(RELU,))


def test_switches_are_exempt_from_weight_decay() -> None:
    """No group of the optimiser that decays holds a switch."""
    model = relaxed()
    switches = {id(switch) for switch in [*model.head_switches, *model.gate_switches]}
    assert len(switches) == 4
    optimizer = make_optimizer(model, TrainConfig(model="", epochs=1, weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert not decayed & switches
    assert len(model.no_weight_decay()) >= 4


def test_the_penalty_moves_alphas() -> None:
    """Heads that save more fall faster; without a penalty, and where frozen, switches stay within [0, 1] and put."""
    model, images = relaxed(), torch.randn(8, 3, 8, 8)
    targets = torch.arange(8) % 4
    model.freeze("gates", [[True] * 16, [False] * 16])
    model.penalties.copy_(torch.tensor([5.0, 5.0]))
    weights = {"heads": [[1.0, 1.0], [0.1, 0.1]], "gates": [[1.0], [1.0]]}
    loss = Penalised(model=model, base=CrossEntropy(), weights=weights)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        loss(model, images, targets).backward()
        optimizer.step()
    model.project()
    first, second = (switch.detach() for switch in model.head_switches)
    assert float(first.max()) < 0.7 < float(second.min()) < 1.0
    assert [float(gate.detach().mean()) for gate in model.gate_switches] == [1.0, 0.0]


def test_penalty_weights_follow_prices(prices: PriceTable) -> None:
    """Equal blocks weigh 1; behind a class token's last attention a head computes one row and weighs less."""
    assert np.allclose(head_weights(prices, config(), (RS, SC)), 1.0, atol=0.05)
    assert np.allclose(gate_weights(prices, config()), 1.0, atol=0.05)
    with_token = head_weights(prices, replace(config((SM, SM)), class_token=True), (SM, SC))
    assert with_token[0][0] > with_token[1][0] >= 0


def test_gates_become_tokens_and_blocks() -> None:
    """Kept positions become a gate, none at all the identity, all of them no gate."""
    model = relaxed()
    with torch.no_grad():
        model.gate_switches[0].zero_()
        model.gate_switches[1][:5] = 0
    chosen = gates_by_mu(model, 11 / 32)
    assert chosen.activations == (NONE, RELU)
    assert chosen.gates == (None, Gate(axis=GateAxis.TOKEN, kept=tuple(range(5, 16))))
    assert gates_by_mu(model, 1.0) == model.config


def test_whole_blocks_are_kept_by_their_mean() -> None:
    """Half of two blocks is the one with the larger mean alpha, though the other has the largest alpha."""
    model = relaxed()
    with torch.no_grad():
        model.head_switches[0].copy_(torch.tensor([0.9, 0.1]))
        model.head_switches[1].copy_(torch.tensor([0.7, 0.6]))
    assert blocks_by_mu(model, 0.5).heads == ((SC, SC), (RS, RS))
    assert heads_by_mu(model, 0.5).heads == ((RS, SC), (RS, SC))


def test_a_mixed_model_is_refused() -> None:
    """Heads to be replaced must all be of the dear kind, and something must be relaxed."""
    with pytest.raises(ConfigError, match="dearer kind"):
        RelaxedViT(config((RS, SC)), pair=(RS, SC))
    with pytest.raises(ConfigError):
        RelaxedViT(config())


def test_annealing_presses_harder_until_the_target_is_met() -> None:
    """A group behind its pace has its penalty raised by a tenth; one at its target is binary from then on."""
    model = relaxed()
    settings = Annealing(
        training=TrainConfig(model="", epochs=10), fine_tuning=TrainConfig(model="", epochs=1), warmup_epochs=1
    )
    model.penalties.fill_(1.0)
    step(model, "heads", 2, 1, settings)
    assert model.penalties.tolist() == [1.0, 1.0]
    step(model, "heads", 2, 5, settings)
    assert model.penalties.tolist() == pytest.approx([1.1, 1.0])
    with torch.no_grad():
        model.head_switches[0].copy_(torch.tensor([5e-4, 0.4]))
        model.head_switches[1].copy_(torch.tensor([0.3, -1.0]))
    step(model, "heads", 2, 6, settings)
    assert model.is_frozen("heads")
    assert not model.is_frozen("gates")
    assert [switch.tolist() for switch in model.head_switches] == [[0.0, 1.0], [1.0, 0.0]]


# -- candidates ------------------------------------------------------------------------------------------------------


def test_pareto_set_by_brute_force() -> None:
    """The sweep finds exactly what no other point dominates, one of equals."""
    rng = np.random.default_rng(0)
    points = [(float(a), float(s)) for a, s in rng.integers(0, 12, (80, 2))]

    def dominated(one: tuple[float, float]) -> bool:
        return any(a >= one[0] and s <= one[1] and (a, s) != one for a, s in points)

    found = pareto_set(points, lambda point: point[0], lambda point: point[1])
    assert sorted(found) == sorted({point for point in points if not dominated(point)})
    assert [s for _, s in found] == sorted(s for _, s in found)
    assert pareto_set([], lambda point: point[0], lambda point: point[1]) == []


def test_hopeless_trials_are_given_up() -> None:
    """Only behind a rival that is no dearer, clearly, and not in the first epochs."""
    rival = (Rival(1.0, (0.3, 0.7, 0.7, 0.8)),)
    assert hopeless([0.2, 0.3], 4, 1.0, rival)
    assert not hopeless([0.2], 4, 1.0, rival)
    assert not hopeless([0.2, 0.55], 4, 1.0, rival)
    assert not hopeless([0.2, 0.3], 4, 0.9, rival)


def test_merit_without_training() -> None:
    """Scores are reproducible, leave the random state alone, and a selection covers all prices."""
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again = merit(config()), merit(config())
    assert first == again
    assert torch.equal(state, torch.get_rng_state())
    assert math.isfinite(first.log_length)
    assert first.log_condition > 0
    merits = [Merit(log_length=float(i % 3), log_condition=float(i % 2)) for i in range(8)]
    assert len(scores(merits, [1.0] * 8)) == 8
    assert scores(merits[:2], [1.0, 100.0])[1] < scores(merits[:2], [1.0, 1.0])[1]
    chosen = select(merits, [float(i) + 1 for i in range(8)], 4)
    assert [index // 2 for index in chosen] == [0, 1, 2, 3]


def test_a_space_builds_what_it_says() -> None:
    """Ends are the dearest and cheapest choice; heads come in order; norms and widths are applied."""
    space = Space(
        base=config(), kinds=(SM, SC), activations=(GELU, NONE), norms=("layernorm", "batchnorm_mlp"), dims=(8, 16)
    )
    dearest, cheapest = map(space.build, space.ends())
    assert (dearest.dim, cheapest.dim) == (16, 8)
    assert set(itertools.chain(*dearest.heads)) == {SM}
    assert cheapest.activations == (NONE, NONE)
    assert cheapest.norms == ((Norm.LAYERNORM, Norm.BATCHNORM),) * 2
    chosen = space.random(np.random.default_rng(0)) | {"block0.head0": "scaling", "block0.head1": "softmax"}
    assert space.build(chosen).heads[0] == (SM, SC)
    with pytest.raises(ConfigError):
        Space(base=config(), kinds=(), activations=(RELU,))


def trial(number: int, prices: PriceTable, accuracy: float) -> Trial:
    """A trial of some configuration."""
    one = config((RS, SC) if number % 2 else (SC, SC), RELU if number % 3 else NONE)
    return Trial(name=f"t{number}", method="test", config=one, accuracy=accuracy, epochs=2, price=prices.price(one))


def _counting(started: list[ViTConfig], stop_after: int = 10**9) -> Sampler:
    """A sampler whose trainings take no time."""

    def submit(one: ViTConfig, rivals: list[Rival]) -> Future[Outcome]:
        if len(started) >= stop_after:
            raise KeyboardInterrupt
        started.append(one)
        future: Future[Outcome] = Future()
        future.set_result(Outcome([0.1, 0.5 + len(started) / 100]))
        return future

    return Sampler(
        space=Space(base=config(), kinds=(RS, SC), activations=(RELU, NONE)),
        prices=PriceTable(WAN),
        storage=Path(),
        submit=submit,
        warm_start=3,
    )


def test_a_sampler_resumes(tmp_path: Path, probes: Path, prices: PriceTable) -> None:
    """What an interrupted run finished is not begun again, what was running is; no configuration comes twice."""
    storage, started = tmp_path / "trials.sqlite", list[ViTConfig]()
    with workers("1") as pool:
        first = replace(_counting(started, stop_after=3), storage=storage, prices=prices)
        with pytest.raises(KeyboardInterrupt):
            first.run(7, pool)
        seen: list[Trial] = []
        second = replace(_counting(started), storage=storage, prices=prices, on_trial=seen.append)
        found = second.run(7, pool)
    assert len(found) == len(seen) == 7
    assert len(started) == 7
    assert len(set(started)) == 7
    assert [one.config for one in found[:3]] == started[:3]


@pytest.mark.parametrize("method", list(Method))
def test_samplers_stay_within_the_budget(tmp_path: Path, prices: PriceTable, method: Method) -> None:
    """No trial costs more than the budget; one that nothing fits is refused."""
    cheapest = prices.seconds(config((SC, SC), NONE))
    dearest = prices.seconds(config((RS, RS), RELU))
    budget = (cheapest + dearest) / 2
    with workers("1") as pool:
        sampler = replace(_counting([]), storage=tmp_path / "a.sqlite", prices=prices, budget=budget, method=method)
        assert all(one.seconds <= budget for one in sampler.run(5, pool))
        sampler = replace(sampler, storage=tmp_path / "b.sqlite", budget=cheapest / 2)
        with pytest.raises(ConfigError, match="the cheapest choice's price"):
            sampler.run(1, pool)


def test_workers_are_checked() -> None:
    """A number or ray; ray says how to install it where it is missing."""
    with pytest.raises(ConfigError, match="number of processes"), workers("many"):
        pass
    with pytest.raises(ConfigError, match="pip install"), workers("ray"):
        pass


# -- report ----------------------------------------------------------------------------------------------------------


def test_report_files(tmp_path: Path, prices: PriceTable) -> None:
    """JSON reads back, the plot is a PNG, and the page refers to nothing beside itself."""
    trials = [trial(number, prices, 0.5 + number / 20) for number in range(6)]
    Report(title="a <test>", profile=WAN, trials=trials, budget=2.0, facts=(("pictures", "6"),)).write(tmp_path)
    document = json.loads((tmp_path / PARETO_FILE).read_text())
    assert [Trial.from_json(one) for one in document["trials"]] == trials
    assert set(document["pareto"]) <= {one.name for one in trials}
    picture = (tmp_path / PLOT_FILE).read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert min(struct.unpack(">II", picture[16:24])) > 400
    page = (tmp_path / REPORT_FILE).read_text()
    assert "a &lt;test&gt;" in page
    assert "<test>" not in page
    assert "$" not in page
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "url(" not in page
    assert page.count("<article>") == len(document["pareto"])


def test_an_empty_report_is_valid(tmp_path: Path) -> None:
    """Nothing tried yet."""
    Report(title="empty", profile=LOOPBACK, trials=[]).write(tmp_path)
    assert json.loads((tmp_path / PARETO_FILE).read_text())["pareto"] == []


# -- whole searches --------------------------------------------------------------------------------------------------

_TRAINING = TrainConfig(
    model="test", epochs=2, batch_size=16, lr=2e-3, pipeline=Pipeline.TENSORS, crop_scale=1.0, validation=16
)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """A few pictures of shapes."""
    return synthetic_pictures(64, 8)


def _tiny(stages: tuple[Stage, ...], heads: AttentionKind = RS) -> Preset:
    """A search of seconds."""
    return Preset(
        name="tiny",
        base=config((heads, heads)),
        stages=stages,
        training=_TRAINING,
        search=_TRAINING,
        penalty=1e-2,
        pair=(heads, SC),
        gate_axis=GateAxis.TOKEN,
        mus=(0.5,),
        space=Space(base=config(), kinds=(RS, SC), activations=(RELU, NONE)),
        trials=2,
        warm_start=2,
        precision=COARSE,
        pictures=64,
    )


def test_a_search_ends_with_a_report_and_resumes(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """Supernet and sampler; the second time nothing is trained; another search in the folder is refused."""
    wanted = Search(
        preset=_tiny((Stage.SUPERNET, Stage.SAMPLE)),
        folder=tmp_path,
        profile=WAN,
        images=images,
        prices_folder=probes,
        device="cpu",
    )
    with workers("1") as pool:
        report = wanted.run(pool)
        assert [one.name for one in report.trials] == ["mu0.5", "trial0", "trial1"]
        assert (tmp_path / REPORT_FILE).exists()
        kept = report.trials[0].config
        assert sum(kind is RS for block in kept.heads for kind in block) == 2
        outcomes = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome.json")}
        assert len(outcomes) == 3
        again = replace(wanted, preset=replace(wanted.preset, trials=3)).run(pool)
        assert again.trials[:3] == report.trials
        assert len(again.trials) == 4
        assert all(path.stat().st_mtime_ns == when for path, when in outcomes.items())
        with pytest.raises(ConfigError, match="another search"):
            replace(wanted, budget=5.0).run(pool)


def test_a_search_with_another_model_is_another_search(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """A folder is refused to a model with other weights, to one where there was none, and to none where there was one.

    What counts is what is in the model's files, not where they are.
    """
    base = config((RS, RS))
    for number in range(2):
        torch.manual_seed(number)
        save_model(VisionTransformer(base), tmp_path / f"model{number}")
    shutil.copytree(tmp_path / "model0", tmp_path / "copy")
    search = Search(
        preset=_tiny(()),
        folder=tmp_path / "search",
        profile=WAN,
        images=images,
        model=tmp_path / "model0",
        prices_folder=probes,
    )
    with workers("1") as pool:
        search.run(pool)
        replace(search, model=tmp_path / "copy").run(pool)
        for other in (tmp_path / "model1", None):
            with pytest.raises(ConfigError, match="another search"):
                replace(search, model=other).run(pool)
        alone = replace(search, model=None, folder=tmp_path / "alone")
        alone.run(pool)
        with pytest.raises(ConfigError, match="another search"):
            replace(alone, model=tmp_path / "model0").run(pool)
        with pytest.raises(ModelFileError, match=r"config\.json"):
            replace(search, model=tmp_path / "nowhere").run(pool)


def _taught_search(wanted: Preset, folder: Path, probes: Path, images: ImageSet) -> Search:
    """A search in ``folder/search`` with the teacher in ``folder/teacher``."""
    return Search(
        preset=wanted,
        folder=folder / "search",
        profile=WAN,
        images=images,
        model=folder / "teacher",
        prices_folder=probes,
        device="cpu",
    )


def test_a_search_begins_at_the_teachers_weights(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """Where the preset says so: supernet and candidates; without a teacher it is refused."""
    base = config((RS, RS))
    teacher = VisionTransformer(replace(base, heads=((SM, SM),) * 2))
    save_model(teacher, tmp_path / "teacher")
    # a learning rate of 0 leaves first weights as they are
    taught = replace(_TRAINING, epochs=1, lr=0.0, objective=ObjectiveName.DISTILLATION, start=Start.TEACHER)
    small = replace(_tiny((Stage.SUPERNET,)), training=taught, search=taught, gate_axis=None)
    search = _taught_search(small, tmp_path, probes, images)
    with workers("1") as pool:
        search.run(pool)
        (trial,) = (path.parent for path in (tmp_path / "search" / "trials").rglob("model.safetensors"))
        found = [load_model(trial).state_dict(), load_file(tmp_path / "search" / "supernet" / "model.safetensors")]
        for weights in found:
            for name, wanted in teacher.state_dict().items():
                assert torch.equal(weights[name], wanted), name
        with pytest.raises(ConfigError, match="without a teacher"):
            replace(search, model=None, folder=tmp_path / "alone").run(pool)


def test_candidates_are_trained_in_the_stages_of_their_recipe(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """A run that comes first has the candidate's architecture, too; without a teacher there is none."""
    base = config((RS, RS))
    save_model(VisionTransformer(base), tmp_path / "teacher")
    first = replace(_TRAINING, epochs=1, objective=ObjectiveName.MPCFORMER_HIDDEN, start=Start.TEACHER)
    taught = replace(first, objective=ObjectiveName.MPCFORMER_LOGITS, start=Start.FRESH, before=first)
    wanted = replace(_tiny((Stage.SUPERNET,)), training=taught, gate_axis=None)
    search = _taught_search(wanted, tmp_path, probes, images)
    with workers("1") as pool:
        (trial,) = search.run(pool).trials
        replace(search, model=None, folder=tmp_path / "alone").run(pool)
    (stage,) = (tmp_path / "search" / "trials").rglob("before/model.safetensors")
    for folder, name in ((stage.parent, "mpcformer_hidden"), (stage.parent.parent, "mpcformer_logits")):
        assert json.loads((folder / "train.json").read_text())["config"]["objective"] == name
        assert load_model(folder).config == trial.config
    assert not list((tmp_path / "alone").rglob("before"))


def test_annealing_ends_with_a_tuned_model(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """The base model is trained first; half the heads and tokens stay; the tuned model can be loaded."""
    search = Search(
        preset=_tiny((Stage.ANNEAL,), SM),
        folder=tmp_path,
        profile=WAN,
        images=images,
        prices_folder=probes,
        device="cpu",
    )
    with workers("1") as pool:
        (found,) = search.run(pool).trials
    model = load_model(tmp_path / "anneal0.5" / "tuned")
    assert model.config == found.config
    assert sum(kind is SM for block in found.config.heads for kind in block) == 2


def test_presets_are_consistent() -> None:
    """Every preset's stages have what they need, its sizes fit, and it can be shortened."""
    for name in PRESETS:
        one = preset(name)
        assert one.name == name
        assert Stage.SAMPLE not in one.stages or one.space is not None
        if Stage.SUPERNET in one.stages or Stage.ANNEAL in one.stages:
            RelaxedViT(one.base, pair=one.pair, gate_axis=one.gate_axis)
        if one.space is not None:
            for end in one.space.ends():
                one.space.build(end)
        assert one.shortened(2).training.total_epochs == 2
    with pytest.raises(ConfigError, match="smoke"):
        preset("nothing")
    with pytest.raises(ConfigError, match="--data"):
        pictures_for(preset("pareto"))


def test_smoke_from_the_command_line(tmp_path: Path, probes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mpcvit search`` with the smallest numbers: a JSON object on standard output, the report in the folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = tmp_path / ".cache" / "mpcvit" / "prices"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(probes)
    smallest = replace(_tiny((Stage.SUPERNET, Stage.SAMPLE)), name="smoke", gate_axis=None)
    monkeypatch.setitem(PRESETS, "smoke", lambda: smallest)
    command = ["search", "--preset", "smoke", "--out", str(tmp_path / "out"), "--trials", "1", "--epochs", "1"]
    result = CliRunner().invoke(app, [*command, "--profile", "loopback", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["trials"] == 2
    assert document["pareto"]
    assert (tmp_path / "out" / REPORT_FILE).exists()


def test_trials_on_other_processes() -> None:
    """A pool of processes has as many slots as asked for."""
    with workers("2") as pool:
        assert isinstance(pool, Workers)
        assert pool.slots == 2
        assert pool.executor.submit(max, 1, 2).result() == 2
