"""Every op on the fast engine: against its reference with the dealer's roundings, its cost, what parties see of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil, floor

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.protocol import Protocol
from mpcvit.engines.masked.protocols.relu_by_one_hot import ReluByOneHot
from mpcvit.engines.masked.simulate import MaskedRun
from mpcvit.ops import Add, GridSpline, Linear, Matmul, Multiply, Op, Relu, Rescale, Square, TensorType
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from tests.support.cases import CASES, IDS, t
from tests.support.fast import replay, run_plan
from tests.support.links import RecordingLink
from tests.support.protocol_variants import DROPPED, masked_op, variants
from tests.support.secure import one_op, random_codes


def with_edges(kind: TensorType, generator: np.random.Generator) -> Codes:
    """Codes of the type: the ends of its range and those beside them, zero and those beside it, random ones."""
    codes = random_codes(kind, generator)
    lo, hi = ceil(kind.qtype.lo * 2.0**kind.frac), floor(kind.qtype.hi * 2.0**kind.frac)
    edges = [code for code in (lo, hi, 0, -1, 1, lo + 1, hi - 1) if lo <= code <= hi][: codes.size]
    places = generator.choice(codes.size, len(edges), replace=False)
    codes.reshape(-1)[places] = edges
    return codes


def protocol_of(plan: Plan) -> Protocol:
    """The protocol of the node ``op``."""
    return plan.steps[plan.step_index["op"]].protocol


def check(run: MaskedRun, inputs: dict[str, Codes]) -> None:
    """Replay, cost and traces of one run."""
    assert (run.output == replay(run, {}, inputs)).all()
    plan = run.plan
    assert not run.repeated
    for trace in run.traces:
        assert trace.total().rounds == len(plan.messages)
        assert trace.total().bytes_sent == trace.total().bytes_received == sum(plan.messages)
        for tag, count in trace.counts.items():
            if tag == "agreement":
                assert (count.rounds, count.bytes_sent) == (1, 32)
            elif "+" not in tag:  # the step alone in its messages
                openings = plan.steps[plan.step_index[tag]].protocol.openings()
                assert (count.rounds, count.bytes_sent) == (len(openings), sum(openings))


@pytest.mark.parametrize("build", [one_op, masked_op], ids=["shared", "masked"])
@pytest.mark.parametrize(("op", "kinds"), CASES, ids=IDS)
def test_every_protocol_is_the_reference_bit_for_bit(
    op: Op, kinds: tuple[TensorType, ...], build: Callable[..., Program]
) -> None:
    """Each protocol gives the reference with the dealer's roundings; rounds, bytes and material are those declared.

    Inputs hold the edges of the declared range. Without the dealer's roundings the result is one that the op allows.
    """
    program = build(op, *kinds)
    shift = DROPPED if build is masked_op else 0
    for number, plan in enumerate(variants(program), start=1):
        for repeat in range(3):
            generator = np.random.default_rng(repeat)
            codes = [with_edges(kind, generator) for kind in kinds]
            inputs = {f"x{index}": one << shift for index, one in enumerate(codes)}
            run = run_plan(plan, {}, inputs, number=10 * number + repeat)
            check(run, inputs)
            assert_allowed(op, codes, run.output)


def assert_allowed(op: Op, inputs: list[Codes], output: Codes) -> None:
    """Assert that ``output`` is a result that the op's definition allows, whatever the dealer drew."""
    batch = [torch.from_numpy(codes)[None] for codes in inputs]
    expected = op.reference(*batch)[0].numpy()
    if isinstance(op, Rescale):  # one of the two neighbours: at most 1 from the nearest
        assert np.abs(output - expected).max() <= 1
    elif isinstance(op, Relu):
        near = np.abs(inputs[0]) < 1 << op.drop
        assert (output == expected)[~near].all()
        assert ((output == 0) | (output == inputs[0]))[near].all()
    elif isinstance(op, GridSpline):
        ends = [torch.tensor(0), torch.tensor((1 << op.shift) - 1)]
        below, above = (op.reference(*batch, rounding=end)[0].numpy() for end in ends)
        assert ((output == below) | (output == above)).all()
    else:
        assert (output == expected).all()


WITH_PARAMETERS: list[tuple[Op, tuple[TensorType, ...], tuple[str, ...]]] = [
    (Linear(), (t((5, 6)), t((6, 4), frac=14, bound=1.0)), ("x", "w")),
    (Matmul(), (t((6, 4)), t((5, 6), frac=14, bound=1.0)), ("w", "x")),
    (Multiply(), (t((5, 6)), t((6,), frac=14, bound=1.0)), ("x", "w")),
    (Multiply(), (t((5, 6)), t((6,), frac=14, bound=1.0)), ("w", "x")),
    (Add(), (t((5, 6)), t((6,))), ("x", "w")),
]


@pytest.mark.parametrize(("op", "kinds", "order"), WITH_PARAMETERS)
def test_ops_on_parameters(op: Op, kinds: tuple[TensorType, TensorType], order: tuple[str, str]) -> None:
    """Products with parameters, which are opened once per model load, and sums with them; nothing else is opened."""
    x, w = kinds
    types = {"x": x, "w": w}
    shape, frac = op.infer(*(types[name] for name in order))
    node = Node("op", op, order, TensorType(shape, QType(frac=frac, lo=-(2.0**20), hi=2.0**20)))
    program = Program({"x": x}, {"w": w}, (node,), "op")
    generator = np.random.default_rng(3)
    inputs, weights = {"x": with_edges(x, generator)}, {"w": with_edges(w, generator)}
    (plan,) = variants(program)
    assert plan.masked_parameters == (() if isinstance(op, Add) else ("w",))
    assert plan.messages == (() if isinstance(op, Add) else (8 * x.size,))
    run = run_plan(plan, weights, inputs)
    expected = run_reference(program, weights, {"x": inputs["x"][None]})[0]
    assert (run.output == expected).all()
    opened_weights = 0 if isinstance(op, Add) else 1
    assert [trace.total().rounds for trace in run.traces] == [len(plan.messages) + opened_weights] * 2


ENDS = [
    (code_bound, drop)
    for code_bound in (1, 2, 127, 128, 2**20 - 1, 2**20, 2**61 - 512)
    for drop in (0, 1, 4, 19)
    if drop < code_bound.bit_length()
]


@pytest.mark.parametrize(("code_bound", "drop"), ENDS)
def test_signs_are_right_at_the_ends_of_every_range(code_bound: int, drop: int) -> None:
    """All protocols of Relu, at both ends of ranges of every kind of width, however many bits they ignore."""
    kind = TensorType((8,), QType(frac=0, lo=-float(code_bound), hi=float(code_bound)))
    codes = np.array([code_bound, -code_bound, 1 - code_bound, code_bound - 1, 0, 1, -1, code_bound // 2])
    for plan in variants(one_op(Relu(drop), kind, magnitude=2.0**61)):
        for number in range(1, 4):
            run = run_plan(plan, {}, {"x0": codes}, number)
            check(run, {"x0": codes})
            assert_allowed(Relu(drop), [codes], run.output)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("code_bound", [1, 100, 2**14 - 1, 2**32])
def test_one_hot_blocks_of_every_width(width: int, code_bound: int) -> None:
    """Any block width gives the ReLU, with the rounds, bytes and material that it declares."""
    kind = TensorType((13,), QType(frac=0, lo=-float(code_bound), hi=float(code_bound)))
    plan = make_plan(one_op(Relu(), kind, magnitude=2.0**33), DEFAULT_OBJECTIVE)
    step = plan.steps[plan.step_index["op"]]
    protocol = ReluByOneHot(kind.shape, step.protocol.window, width)  # type: ignore[attr-defined]
    plan = replace(plan, steps=tuple(replace(s, protocol=protocol) if s is step else s for s in plan.steps))
    codes = with_edges(kind, np.random.default_rng(width))
    run = run_plan(plan, {}, {"x0": codes})
    check(run, {"x0": codes})
    assert (run.output == np.maximum(codes, 0)).all()
    assert protocol.material()[0] == 0


OPENING: list[tuple[Op, TensorType]] = [
    (Square(), t((4, 8))),
    (Rescale(9), t((4, 8), frac=24)),
    (Relu(), t((4, 8))),
    (Relu(5), t((4, 8))),
]


@pytest.mark.parametrize(("op", "kind"), OPENING, ids=[f"{op.name}-{n}" for n, (op, _) in enumerate(OPENING)])
def test_what_is_opened_is_uniform(op: Op, kind: TensorType) -> None:
    """For one fixed input, every bit that either party says or that both open is set half of the time (5 sigma)."""
    seeds = 150
    codes = np.full(kind.shape, 1234, dtype=np.int64)
    for plan in variants(one_op(op, kind)):
        seen: list[list[np.ndarray]] = [[] for _ in plan.messages]
        for number in range(1, seeds + 1):
            said: list[list[bytes]] = [[], []]
            run = run_plan(
                plan, {}, {"x0": codes}, number, lambda link, said=said: RecordingLink(link, said[link.index])
            )
            assert not run.repeated
            for depth, (first, second) in enumerate(zip(*said, strict=True)):
                dtype = np.uint64 if depth == 0 else np.uint8  # first words are opened, then packed bits
                own, other = np.frombuffer(first, dtype), np.frombuffer(second, dtype)
                opened = own + other if depth == 0 else own ^ other
                seen[depth].append(np.stack([one.view(np.uint8) for one in (own, other, opened)]))
        for messages in seen:
            bits = np.unpackbits(np.stack(messages), axis=-1, bitorder="little").astype(np.float64)
            assert (np.abs(bits.mean(0) - 0.5) < 5 * 0.5 / np.sqrt(seeds) + 1e-9).all()
            assert (np.abs(bits.mean((0, 2)) - 0.5) < 5 * 0.5 / np.sqrt(bits.shape[0] * bits.shape[2])).all()
            words = bits.reshape(seeds, 3, -1, 8).mean((0, 2))  # the same bit of all bytes
            assert (np.abs(words - 0.5) < 5 * 0.5 / np.sqrt(seeds * bits.shape[2] / 8)).all()
