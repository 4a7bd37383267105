"""Prices of models, put together from probes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.exported import Exported
from mpcvit.link_profile import LOOPBACK, PROFILES, WAN
from mpcvit.models.block import Gate
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import GateAxis, Norm, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.pricing.amounts import plan_amounts
from mpcvit.pricing.price import Price
from mpcvit.pricing.random_export import random_export
from mpcvit.pricing.table import PriceTable
from mpcvit.store.codec import from_document, to_document
from tests.support.columns import varied
from tests.support.searches import COARSE, NONE, RELU, RS, SC, SM, config, table

_MIXED = varied(
    config(depth=3),
    heads=((SM, SM), (RS, SC), (SC, SC)),
    activation=(RELU, NONE, RELU),
    norms=((Norm.LAYERNORM, Norm.LAYERNORM), (Norm.LAYERNORM, Norm.BATCHNORM), (Norm.LAYERNORM, Norm.LAYERNORM)),
    gate=(None, None, Gate(axis=GateAxis.TOKEN, kept=(1, 4, 9))),
)

_UNEQUAL = varied(
    config(depth=3), head_width=6, heads=((RS, RS, SC), (SC,), (SC,)), hidden=(40, 9, 9), owners=(0, 1, 1), lepe=3
)


@cache
def whole_export(whole: ViTConfig) -> Exported:
    """Its own coarse export."""
    return random_export(whole, COARSE)


@pytest.mark.parametrize("name", PROFILES)
def test_parts_add_up_to_the_plan(name: str) -> None:
    """The parts of a plan have together exactly its rounds, bytes, multiplications and material."""
    exported = whole_export(_MIXED)
    plan = make_plan(exported.program, objective(name))
    total, cost = plan_amounts(plan, exported.parts).total, fast_cost(plan)
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
    profile, done = PROFILES[name], whole_export(whole)
    exported = Price.of(plan_amounts(make_plan(done.program, objective(name)), done.parts), profile)
    predicted = table(profile, probes).price(whole)
    assert predicted.seconds == pytest.approx(exported.seconds, rel=0.03)
    assert predicted.rounds == pytest.approx(exported.rounds, abs=whole.depth)
    assert [part for part, _ in predicted.parts] == [part for part, _ in exported.parts]
    assert sum(seconds for _, seconds in predicted.parts) == pytest.approx(predicted.seconds)


@pytest.mark.parametrize("kind", [ReductionKind.EVIT, ReductionKind.SPVIT])
def test_reduced_models_are_priced_whole(prices: PriceTable, kind: ReductionKind) -> None:
    """Selecting tokens shows in the price: exactly the plan's rounds and bytes, and less work behind it."""
    whole = varied(config(depth=2), reduction=(Reduction(kind=kind, keep=6), None))
    price, plan = prices.price(whole), make_plan(whole_export(whole).program, objective("wan"))
    assert (price.rounds, price.bytes_sent) == (len(plan.messages), sum(plan.messages))
    assert price.material_bytes == sum(plan.material)
    assert (
        prices.amounts(whole).blocks[1].total.elements
        < prices.amounts(varied(whole, reduction=())).blocks[1].total.elements / 2
    )


def test_prices_grow_with_what_is_dear(prices: PriceTable) -> None:
    """On a WAN: softmax over relu_softmax over scaling, an activation over none, and depth."""
    by_kind = [prices.seconds(config((kind, kind))) for kind in (SM, RS, SC)]
    assert by_kind == sorted(by_kind, reverse=True)
    assert len(set(by_kind)) == 3
    assert prices.seconds(config(activation=NONE)) < prices.seconds(config())
    assert prices.seconds(config(depth=3)) > prices.seconds(config())


def test_heads_of_a_block_share_rounds(prices: PriceTable) -> None:
    """A cheap head beside an expensive one saves bytes, but no round; only a whole block of cheap heads does."""
    expensive, mixed, cheap = (prices.price(config(heads)) for heads in ((RS, RS), (RS, SC), (SC, SC)))
    assert expensive.rounds == mixed.rounds > cheap.rounds
    assert expensive.bytes_sent > mixed.bytes_sent > cheap.bytes_sent


def test_order_of_heads_does_not_matter(prices: PriceTable) -> None:
    """Heads of a block may be permuted."""
    assert prices.price(config((RS, SC))) == prices.price(config((SC, RS)))


def test_prices_are_kept(probes: Path, prices: PriceTable) -> None:
    """A second table exports nothing and says the same; a network further away costs more."""
    first = prices.price(config())
    asked: list[str] = []
    again = table(WAN, probes, asked.append)
    assert again.price(config()) == first
    assert not asked
    assert table(LOOPBACK, probes, asked.append).seconds(config()) < first.seconds
    assert not asked
    assert from_document(Price, json.loads(json.dumps(to_document(first)))) == first
