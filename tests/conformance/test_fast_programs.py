"""Whole Programs on the fast engine: replay bit for bit, cost, repeated attempts, what the wire shows."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random  # noqa: TID251 - hypothesis hands these out; no secrets here
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.export.vit import INPUT, Exported, export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.ops import (
    Add,
    GridSpline,
    Linear,
    Matmul,
    Multiply,
    Op,
    Permute,
    Relu,
    Rescale,
    Scale,
    Spline,
    Square,
    Subtract,
    TensorType,
)
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes, decode
from mpcvit.ring.qtype import QType
from tests.support.columns import column, configured
from tests.support.fast import assert_cost, replay, run_on_fast, run_plan
from tests.support.images import make_images, pixel_codes
from tests.support.links import RecordingLink
from tests.support.models import TINY, make_model
from tests.support.random_programs import random_case


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False), number=st.integers(1, 400))
def test_random_programs_are_the_reference_bit_for_bit(random: Random, number: int) -> None:
    """Any Program, under every objective equals the replayed reference."""
    case = random_case(random)
    plans = {plan.digest: plan for plan in (make_plan(case.program, one) for one in OBJECTIVES.values())}
    for plan in plans.values():
        run = run_plan(plan, case.weights, case.inputs, number)
        assert (run.output == replay(run, case.weights, case.inputs)).all()
        assert_cost(run)


#: Scores are squared and cubed: larger weights would give a residual stream of too many magnitudes.
GAIN = 1.5


def tiny(kinds: str, activation: Activation = Activation.RELU, **fields: Any) -> ViTConfig:
    """One block with heads of ``kinds`` on an odd number of patches, unless ``fields`` say otherwise."""
    heads = tuple(AttentionKind(kind) for kind in kinds.split())
    sizes = {"image_size": 12, "patch_size": 4, "classes": 3, "dim": 12, "hidden": 16}
    return configured(**{**sizes, "heads": (heads,), "activation": (activation,), **fields})


MODELS = {
    "softmax-gelu": tiny("softmax softmax", Activation.GELU),
    "relu_softmax-relu-class_token": tiny("relu_softmax relu_softmax", class_token=True),
    "scaling-quad": tiny("scaling scaling", Activation.QUAD),
    "mixed-identity-class_token": tiny("scaling relu_softmax softmax", Activation.IDENTITY, class_token=True),
    "others": tiny("square 2quad linear_relu"),
    "others-class_token": tiny("linformer thex pooled_kv", image_size=16, pooled_side=2, class_token=True),
    "lepe": tiny("scaling relu_softmax scaling", lepe=6),
    "lepe-class_token": tiny("scaling softmax", lepe=4, class_token=True),
    "masks-class_token": tiny("relu_softmax square scaling", gmm=2, class_token=True),
}


@cache
def exported_model(name: str) -> tuple[Exported, Codes, np.ndarray]:
    """A tiny model, an image's codes, and its logits in floating point."""
    config = MODELS[name]
    model, images = make_model(config, gain=GAIN), make_images(config, 48)
    exported = export_vit(model, images)
    with torch.inference_mode():
        plain = model(images[:1]).numpy()[0]
    return exported, pixel_codes(images[0]), plain


@pytest.mark.parametrize("objective", ["wan", "material", "loopback"])
@pytest.mark.parametrize("name", MODELS)
def test_models_are_the_reference_bit_for_bit(name: str, objective: str) -> None:
    """Every attention kind and activation: the replayed reference, close to floating point, cost as planned."""
    exported, codes, plain = exported_model(name)
    run = run_on_fast(exported.program, exported.weights, {INPUT: codes}, 1, OBJECTIVES[objective])
    assert (run.output == replay(run, exported.weights, {INPUT: codes})).all()
    assert np.abs(decode(run.output, exported.program.types[exported.program.output].frac) - plain).max() < 0.02
    assert_cost(run)


def test_models_cover_every_kind() -> None:
    """No attention kind and no activation escapes this file."""
    configs = MODELS.values()
    assert {kind for config in configs for kind in column(config, "heads")[0]} == set(AttentionKind)
    assert {activation for config in configs for activation in column(config, "activation")} == set(Activation)


@pytest.mark.parametrize("objective", ["wan", "material"])
def test_no_secret_travels_in_clear(tiny_exported: Exported, objective: str) -> None:
    """No pixel, weight or logit, nor a share of one, appears in what any party says; the bytes look uniform."""
    codes, said = _tiny_codes(tiny_exported), []
    program, weights = tiny_exported.program, tiny_exported.weights
    output = run_on_fast(
        program, weights, {INPUT: codes}, 1, OBJECTIVES[objective], lambda link: RecordingLink(link, said)
    ).output
    secrets = np.concatenate([codes.ravel(), output, *(w.ravel() for w in weights.values())])
    secrets = secrets[np.abs(secrets) > 1]
    traffic = b"".join(said)
    for start in range(8):  # packed bits between words may move them by single bytes
        count = (len(traffic) - start) // 8
        assert not np.isin(np.frombuffer(traffic, "<i8", count, start), secrets).any()
    counts = np.bincount(np.frombuffer(traffic, dtype=np.uint8), minlength=256)
    expected = len(traffic) / 256
    assert len(traffic) > 20_000
    assert ((counts - expected) ** 2 / expected).sum() < 400  # 255 degrees of freedom: mean 255, sd 22.6


def test_two_runs_share_no_message(tiny_exported: Exported) -> None:
    """The same input twice under fresh seeds gives traffic without a common message, weights included."""
    codes = _tiny_codes(tiny_exported)
    runs: list[list[bytes]] = [[], []]
    for number, said in enumerate(runs, start=1):
        run_on_fast(
            tiny_exported.program,
            tiny_exported.weights,
            {INPUT: codes},
            number,
            wrap_link=lambda link, said=said: RecordingLink(link, said),  # type: ignore[misc]
        )
    assert len(runs[0]) == len(runs[1]) > 20
    first, second = (frozenset(message for message in said if len(message) >= 8) for said in runs)
    assert len(first) > 20
    assert not first & second


def _tiny_codes(exported: Exported) -> Codes:
    return pixel_codes(make_images(TINY, 1, seed=9)[0])


def typed(shape: tuple[int, ...], frac: int, code_bound: int) -> TensorType:
    """A type whose codes are at most ``code_bound``."""
    return TensorType(shape, QType(frac=frac, lo=-code_bound / 2.0**frac, hi=code_bound / 2.0**frac))


def test_ten_thousand_runs_of_a_block_near_its_bound() -> None:
    """Linear, bias, rescale, ReLU: 12,800 secure runs with values at and near the calibrated bound, none wrong.

    Counted like this: 80 sessions, each with its own dealer seeds, of 160 rows. Rows share the weights and nothing
    else: each has its own input, masks and keys, so that each is one secure run of the block.
    """
    sessions, rows, inner, columns, bits = 80, 160, 6, 4, 10
    largest_x, largest_w, largest_b = (1 << 13) - 1, (1 << 11) - 1, (1 << 20) - 1
    bound = inner * largest_x * largest_w + largest_b
    kind = typed((rows, columns), 20, bound)
    program = Program(
        {"x": typed((rows, inner), 10, largest_x)},
        {"w": typed((inner, columns), 10, largest_w), "b": typed((columns,), 20, largest_b)},
        (
            Node("product", Linear(), ("x", "w"), kind),
            Node("sum", Add(), ("product", "b"), kind),
            Node("short", Rescale(bits), ("sum",), typed(kind.shape, 10, bound >> bits)),
            Node("relu", Relu(), ("short",), typed(kind.shape, 10, bound >> bits)),
        ),
        "relu",
    )
    generator = np.random.default_rng(11)
    signs = generator.choice([-1, 1], (inner, columns))
    weights = {"w": signs * largest_w, "b": generator.choice([-1, 1], columns) * largest_b}
    wrong = runs = at_bound = 0
    for session in range(1, sessions + 1):
        # a row is the sign pattern of one column, so that this column's sum is the largest there is, or almost that
        pattern = generator.choice([-1, 1], (rows, 1)) * signs.T[generator.integers(0, columns, rows)]
        codes = pattern * (largest_x - generator.integers(0, 3, (rows, inner)) * generator.integers(0, 2, (rows, 1)))
        inputs = {"x": codes.astype(np.int64)}
        run = run_on_fast(program, weights, inputs, session)
        expected = replay(run, weights, inputs)
        nearest = run_reference(program, weights, {"x": inputs["x"][None]})[0]
        wrong += int((run.output != expected).any(-1).sum() + (np.abs(run.output - nearest) > 1).any(-1).sum())
        exact = inputs["x"] @ weights["w"] + weights["b"]
        at_bound += int((np.abs(exact) >= bound - 2 * largest_b - 8 * inner * largest_w).any(-1).sum())
        runs += rows
    assert runs >= 10_000
    assert at_bound == runs
    assert wrong == 0


WIDE = 59
#: Positions of the values that a wide opening gives: its codes fill what the rescaling leaves.
_NARROW = 1 << (WIDE - 44)


def ambiguous_program() -> tuple[Program, dict[str, Codes]]:
    """A Program with ambiguous openings in two layers, read by every kind of step.

    The inputs' range of 2**59 makes one element in 16 ambiguous; so does the range that ``again`` declares.
    """
    shape, square, frac = (3, 3), 2, 4
    narrow = typed(shape, frac, _NARROW)
    nodes: list[Node] = []

    def add(name: str, op: Op, *inputs: str, bound: int, bits: int) -> str:
        nodes.append(Node(name, op, inputs, typed(shape, bits, bound)))
        return name

    product, spline_bound = 1 << 50, 1 << 50
    rows = tuple((7 * knot - 20, 3 - knot, (-1) ** knot) for knot in range(8))
    spline = Spline((-_NARROW, -5, 4000), rows[:3], frac, square * frac, -_NARROW, _NARROW)
    grid = GridSpline(-_NARROW, 14, rows, frac, square * frac)
    for name in "ab":
        add(name, Rescale(44), name.upper(), bound=_NARROW, bits=frac)
    add("sum", Add(), "a", "b", bound=2 * _NARROW, bits=frac)
    add("turned", Permute((1, 0)), "b", bound=_NARROW, bits=frac)
    layer = [
        add("relu", Scale(3, frac), add("relu1", Relu(), "sum", bound=2 * _NARROW, bits=frac), bound=product, bits=8),
        add("relu_drop", Scale(3, frac), add("relu2", Relu(3), "sum", bound=product, bits=frac), bound=product, bits=8),
        add("multiply", Multiply(), "a", "b", bound=product, bits=8),
        add("matmul", Matmul(), "a", "turned", bound=product, bits=8),
        add("linear", Linear(), "sum", "w", bound=product, bits=8),
        add("square", Square(), "b", bound=product, bits=8),
        add("spline", spline, "a", bound=spline_bound, bits=8),
        add("grid", grid, "b", bound=spline_bound, bits=8),
    ]
    total = layer[0]
    for index, name in enumerate(layer[1:]):
        op = Subtract() if index % 2 else Add()
        total = add(f"total{index}", op, total, name, bound=(1 << WIDE) - 1024, bits=8)
    add("again", Rescale(4), total, bound=1 << (WIDE - 4), bits=4)
    add("c", Multiply(), "again", "a", bound=1 << 60, bits=8)
    add("d", Add(), "c", total, bound=1 << 60, bits=8)
    add("e", Scale(1, 4), "sum", bound=product, bits=8)
    add("total", Add(), "d", "e", bound=1 << 60, bits=8)
    wide = typed(shape, 48, (1 << WIDE) - 1024)
    program = Program({"A": wide, "B": wide}, {"w": typed((3, 3), 4, 100)}, tuple(nodes), "total")
    assert narrow.shape == shape
    return program, {"w": np.arange(-40, 50, 10, dtype=np.int64).reshape(shape)}


@pytest.mark.parametrize("objective", ["wan", "material"])
def test_an_ambiguous_opening_ends_the_attempt(objective: str) -> None:
    """Both parties give up in the same round, early or late, and the attempt that succeeds is right bit for bit.

    Rounds and bytes are those of all attempts.
    """
    program, weights = ambiguous_program()
    plan = make_plan(program, OBJECTIVES[objective])
    assert plan.repeat_probability > 0.5
    seen: Counter[str] = Counter()
    for number in range(1, 25):
        inputs = _wide_inputs(program, number)
        run = run_plan(plan, weights, inputs, number)
        assert (run.output == replay(run, weights, inputs)).all()
        assert_cost(run)
        given_up = run.rounds[:-1]
        seen["first layer"] += 1 in given_up
        seen["second layer"] += any(rounds > 1 for rounds in given_up)
        seen["several attempts"] += len(given_up) > 2
        seen["one attempt"] += not given_up
    assert all(seen[case] for case in ("first layer", "second layer", "several attempts", "one attempt"))


def test_another_attempt_has_fresh_masks() -> None:
    """What the parties say in one attempt has nothing to do with what they said in the one before."""
    kind = typed((4, 4), 8, (1 << 60) - 1024)
    node = Node("op", Rescale(4), ("x",), typed((4, 4), 4, 1 << 57))
    program = Program({"x": kind}, {}, (node,), "op")
    codes = np.full((4, 4), 12345, dtype=np.int64)
    plan, differences = make_plan(program, DEFAULT_OBJECTIVE), []
    for number in range(1, 31):
        said: list[list[bytes]] = [[], []]
        run = run_plan(plan, {}, {"x": codes}, number, lambda link, said=said: RecordingLink(link, said[link.index]))
        assert len(said[0]) == len(run.rounds)
        words = np.array([[np.frombuffer(one, np.uint64) for one in party] for party in said])
        differences.append(np.diff(words, axis=1).reshape(-1))
    bits = np.unpackbits(np.concatenate(differences).view(np.uint8)).reshape(-1, 64).astype(np.float64)
    assert len(bits) > 1000
    assert (np.abs(bits.mean(0) - 0.5) < 5 * 0.5 / np.sqrt(len(bits))).all()


def _wide_inputs(program: Program, number: int) -> dict[str, Codes]:
    generator = np.random.default_rng(number)
    bound = (1 << WIDE) - 1024
    return {name: generator.integers(-bound, bound, kind.shape) for name, kind in program.inputs.items()}


def test_the_dealer_s_plan_is_the_parties() -> None:
    """A plan is a function of Program and objective: the same digest when made twice, another for another objective."""
    exported, _, _ = exported_model("relu_softmax-relu-class_token")
    digests: list[bytes] = [make_plan(exported.program, OBJECTIVES["wan"]).digest for _ in range(2)]
    other: Plan = make_plan(exported.program, OBJECTIVES["material"])
    assert digests[0] == digests[1] != other.digest
    assert other.material[0] + other.material[1] < sum(make_plan(exported.program, OBJECTIVES["wan"]).material)
