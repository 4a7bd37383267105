"""Whole models with fewer tokens on both engines, and what a reduction does to a plan."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.vit import INPUT, Exported, export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, Ranking, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.ops import Order
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from tests.support.columns import configured, varied
from tests.support.fast import replay, run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.models import make_model
from tests.support.secure import run_secure

#: As in test_fast_programs: larger weights would give a residual stream of too many magnitudes.
_GAIN = 1.5
_IMAGES = 48


def tiny(kinds: str, *reductions: Reduction, **fields: Any) -> ViTConfig:
    """One block per reduction with heads of ``kinds``, on 4 x 4 patches."""
    heads = tuple(AttentionKind(kind) for kind in kinds.split())
    sizes = {"image_size": 16, "patch_size": 4, "classes": 3, "dim": 12, "hidden": 16}
    depth = len(reductions)
    return configured(
        **{**sizes, "heads": (heads,) * depth, "activation": (Activation.RELU,) * depth, **fields},
        reduction=reductions,
    )


def to(kind: str, keep: int, ranking: Ranking = Ranking.PRODUCTS) -> Reduction:
    """A reduction by its name."""
    return Reduction(kind=ReductionKind(kind), keep=keep, ranking=ranking)


pytestmark = pytest.mark.slow  # exports of many models

MODELS = {
    "evit-softmax": tiny("softmax softmax", to("evit", 9)),
    "evit-relu_softmax-lepe": tiny("relu_softmax relu_softmax", to("evit", 11), lepe=4),
    "evit-scaling": tiny("scaling scaling", to("evit", 15)),
    "evit-gains": tiny("2quad square scaling", to("evit", 9)),
    "evit-class_token": tiny("scaling relu_softmax", to("evit", 8), to("evit", 4), class_token=True),
    "evit-attention": tiny("softmax scaling", to("evit", 9, Ranking.ATTENTION)),
    "evit-attention-class_token": tiny("2quad relu_softmax", to("evit", 9, Ranking.ATTENTION), class_token=True),
    "evit-twice": tiny("scaling scaling", to("evit", 11), to("evit", 7)),
    "spvit-then-evit": tiny("scaling scaling", to("spvit", 11), to("evit", 7)),
    "spvit-softmax": tiny("softmax softmax", to("spvit", 8)),
    "spvit-relu_softmax": tiny("relu_softmax relu_softmax", to("spvit", 9)),
    "spvit-scaling-class_token": tiny("scaling scaling", to("spvit", 9), class_token=True),
    "window_pool-softmax": tiny("softmax pooled_kv", to("window_pool", 4), pooled_side=1, lepe=4),
    "window_pool-relu_softmax-class_token": tiny(
        "relu_softmax relu_softmax", to("window_pool", 5), class_token=True, gmm=1
    ),
    "window_pool-scaling": tiny("scaling scaling", to("window_pool", 4)),
    "window_pool-3x3": tiny("scaling linformer thex", to("window_pool", 4), image_size=24, linformer_rank=3),
    "window_pool-then-spvit": tiny("scaling scaling", to("window_pool", 4), to("spvit", 2)),
}


@cache
def exported_model(name: str) -> tuple[Exported, Codes, np.ndarray]:
    """A tiny model, its pictures' codes, and their logits in floating point."""
    config = MODELS[name]
    model, images = make_model(config, gain=_GAIN), make_images(config, _IMAGES)
    exported = export_vit(model, images)
    with torch.inference_mode():
        plain = model(images).numpy()
    return exported, pixel_codes(images), plain


@pytest.mark.parametrize("name", MODELS)
def test_lowerings_compute_the_model(name: str) -> None:
    """In real numbers exactly; in fixed point closely, but for few pictures (scores may nearly tie)."""
    exported, codes, plain = exported_model(name)
    assert exported.fidelity < 1e-9
    output = run_reference(exported.program, exported.weights, {INPUT: codes})
    errors = np.abs(decode(output, exported.program.types[exported.program.output].frac) - plain).max(-1)
    assert (errors < 0.03).mean() >= 0.9


@pytest.mark.parametrize("name", MODELS)
def test_the_fast_engine_is_the_reference_bit_for_bit(name: str) -> None:
    """The replayed reference, close to floating point, and rounds and bytes as planned."""
    exported, codes, plain = exported_model(name)
    inputs = {INPUT: codes[0]}
    objectives = ["wan", "material"] if name in ("evit-softmax", "spvit-scaling-class_token") else ["wan"]
    for objective in objectives:
        run = run_on_fast(exported.program, exported.weights, inputs, 1, OBJECTIVES[objective])
        assert (run.output == replay(run, exported.weights, inputs)).all()
        got = decode(run.output, exported.program.types[exported.program.output].frac)
        assert np.abs(got - plain[0]).max() < 0.1
        if not run.repeated:
            for trace in run.traces:
                opened = trace.of("weights")
                assert trace.total().rounds - opened.rounds == len(run.plan.messages)
                assert trace.total().bytes_sent - opened.bytes_sent == sum(run.plan.messages)


@pytest.mark.parametrize("name", ["evit-scaling", "spvit-scaling-class_token", "window_pool-scaling"])
def test_stock_shares_are_close(name: str) -> None:
    """CrypTen's protocols select the same tokens."""
    exported, codes, plain = exported_model(name)
    output = run_secure(exported.program, exported.weights, {INPUT: codes[0]}).output
    assert np.abs(decode(output, exported.program.types[exported.program.output].frac) - plain[0]).max() < 0.1


def depth_without(name: str) -> tuple[int, int]:
    """Rounds of a model, and of the same without reductions."""
    config = MODELS[name]
    bare = varied(config, reduction=())
    exported = export_vit(make_model(bare, gain=_GAIN), make_images(bare, 8))
    plans = [make_plan(program, DEFAULT_OBJECTIVE) for program in (exported_model(name)[0].program, exported.program)]
    with_, without = (len(plan.messages) for plan in plans)
    return with_, without


def test_evit_hides_behind_the_attention() -> None:
    """Scores, order and its opening go on beside ReLU-softmax attention: one round for the kept tokens is left."""
    with_, without = depth_without("evit-relu_softmax-lepe")
    assert with_ == without + 1


def test_window_pooling_costs_no_round() -> None:
    """Sums are local, and no step of the reduction opens anything."""
    with_, without = depth_without("window_pool-scaling")
    assert with_ == without
    plan = make_plan(exported_model("window_pool-scaling")[0].program, DEFAULT_OBJECTIVE)
    assert not [step for step in plan.steps if ".reduce" in step.name and step.protocol.openings()]


def test_a_class_token_s_last_block_selects_nothing() -> None:
    """Behind the last attention only the class token is read: EViT there would be work for nothing."""
    program = exported_model("evit-class_token")[0].program
    orders = [node.name for node in program.nodes if isinstance(node.op, Order)]
    assert orders == ["block0.reduce.order"]
