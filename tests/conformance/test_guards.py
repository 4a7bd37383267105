"""What leaves a gate's window never becomes an answer; what stays inside does not notice that there are guards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.client.client import Client
from mpcvit.client.mock_transport import MockTransport
from mpcvit.client.result import Inference
from mpcvit.client.transport import OnProgress
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.engines.masked.simulate import MaskedRun
from mpcvit.errors import AnswerOutOfRange, ProgramError, ProtocolViolation
from mpcvit.export.builder import Builder, Precision
from mpcvit.export.ranking import top_labels
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops import Add, GridSpline, Nonnegative, Op, Order, Relu, Spline, TensorType
from mpcvit.ops.sign import SignWindow
from mpcvit.program.program import Node, Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.wire.reveal import Disclosure
from tests.support.cases import CASES, IDS
from tests.support.fast import replay, run_on_fast, run_plan
from tests.support.guards import tampered
from tests.support.images import make_images, pixel_codes
from tests.support.models import TINY
from tests.support.secure import one_op
from tests.support.stand_in import MANIFEST, PIXELS

GATES = [(op, kinds, name) for (op, kinds), name in zip(CASES, IDS, strict=True) if op.guardable]


def guarded(program: Program, guards: bool = True) -> Program:
    """``program`` with guards of all gates, or of none."""
    nodes = tuple(replace(node, guarded=guards and node.op.guardable) for node in program.nodes)
    return Program(program.inputs, program.parameters, nodes, program.output)


def edges(op: Op, kind: TensorType) -> tuple[int, int]:
    """The least and the largest code for which ``op`` is right, of every mask."""
    if isinstance(op, Relu | Nonnegative):
        return SignWindow.of(kind.qtype.code_bound, op.drop if isinstance(op, Relu) else 0).codes
    assert isinstance(op, Spline | GridSpline)
    return op.lo, op.hi


@pytest.mark.parametrize(("op", "kinds", "name"), GATES, ids=[name for _, _, name in GATES])
def test_guards_change_nothing_inside(op: Op, kinds: tuple[TensorType, ...], name: str) -> None:
    """At the edges of the window and inside: the same result bit for bit, as many rounds, equal digests."""
    (kind,) = kinds
    plain, program = one_op(op, kind), guarded(one_op(op, kind))
    scale = 2.0**kind.frac
    lo, hi = np.ceil(kind.qtype.lo * scale), np.floor(kind.qtype.hi * scale)
    for number in range(1, 21):
        codes = np.random.default_rng(number).integers(int(lo), int(hi), kind.shape, endpoint=True)
        codes.reshape(-1)[:2] = (lo, hi) if isinstance(op, Order) else edges(op, kind)
        run = run_on_fast(program, {}, {"x0": codes}, number=number)
        assert run.trusted
        assert (run.output == replay(run, {}, {"x0": codes})).all()
        if not isinstance(op, Relu | GridSpline | Order):  # others are right to any rounding; these have their own
            assert (run.output == run_on_fast(plain, {}, {"x0": codes}, number=number).output).all()
        assert all(trace.total().bytes_sent == sum(run.plan.messages) for trace in run.traces)
    assert not isinstance(op, Order) or len(run.plan.messages) == 3  # scores, shuffled scores, ranks


def shifted(kind: TensorType, op: Op, number: int) -> Codes:
    """Codes of which one lies outside of the window, near its edges or anywhere in the ring."""
    generator = np.random.default_rng(number)
    lo, hi = edges(op, kind)
    codes = generator.integers(lo, hi, kind.shape, endpoint=True)
    grid = (1 << op.shift) if isinstance(op, GridSpline) else 1 << op.drop if isinstance(op, Relu) else 1
    least, largest = lo - grid, hi + grid
    wrong = (
        least,
        largest,
        least - int(generator.integers(2**16)),
        largest + int(generator.integers(2**16)),
        int(generator.integers(largest, 2**62)),
        -int(generator.integers(-least, 2**62)),
        (2 * (hi - lo + 1)) + int(codes.reshape(-1)[0]),
        1 << int(generator.integers(40, 63)),
    )[number % 8]
    codes.reshape(-1)[generator.integers(codes.size)] = wrong
    return codes


LONE = [(op, kinds[0], name) for op, kinds, name in GATES if not isinstance(op, Order)]


@pytest.mark.parametrize(("op", "kind", "name"), LONE, ids=[name for _, _, name in LONE])
def test_one_value_outside_breaks_the_guard(op: Op, kind: TensorType, name: str) -> None:
    """80 of 80 per gate: codes a step outside, and anywhere in the ring."""
    program = guarded(one_op(op, kind))
    broken = [
        not run_on_fast(program, {}, {"x0": shifted(kind, op, number)}, number=number).trusted for number in range(80)
    ]
    assert all(broken)


def test_guards_are_expanded_late_alike() -> None:
    """Unit vectors that are expanded when their step starts give the same guard."""
    op, (kind,), _ = next(gate for gate in GATES if isinstance(gate[0], GridSpline))
    plan = make_plan(guarded(one_op(op, kind)), DEFAULT_OBJECTIVE)
    for number in range(16):
        assert not run_plan(plan, {}, {"x0": shifted(kind, op, number)}, number).trusted
        inside = np.random.default_rng(number).integers(*edges(op, kind), kind.shape, endpoint=True)
        assert run_plan(plan, {}, {"x0": inside}, number).trusted


def ask(run: MaskedRun, reveal: Disclosure) -> Inference:
    """What the client makes of the parties' shares."""
    kind = run.plan.program.types[run.plan.program.output].qtype
    manifest = replace(MANIFEST, reveal=reveal, output_type=kind)

    class Given(MockTransport):
        def fetch(self, session_id: bytes, deadline: float, progress: OnProgress) -> tuple:
            share, stats = super().fetch(session_id, deadline, progress)
            return replace(share, codes=run.shares[self._index], digest=run.digests[self._index]), stats

    with Client(Given.parties(manifest, lambda codes: codes.reshape(-1)[:3])) as client:
        return client.infer(PIXELS)


def labels(top: int, bound: float) -> Program:
    """From three scores, declared to be at most ``bound``, to the likeliest labels. Its comparisons are guarded."""
    b = Builder(Precision())
    kind = QType(frac=12, lo=-bound, hi=bound)
    return b.program(top_labels(b, "labels", b.input("x0", torch.zeros(1, 3, dtype=torch.float64), kind), top))


@pytest.mark.parametrize("top", [1, 2])
def test_labels_of_garbage_are_never_labels(top: int) -> None:
    """200 of 200 answers to scores beyond their declared range are refused; scores within it get their label."""
    reveal = Disclosure.label() if top == 1 else Disclosure.topk(top)
    program, refused = labels(top, 1.0), 0
    assert all(node.guarded for node in program.nodes if isinstance(node.op, Nonnegative))
    for number in range(100):
        generator = np.random.default_rng(number)
        inside = generator.integers(-4096, 4096, 3, endpoint=True)
        run = run_on_fast(program, {}, {"x0": inside}, number=number)
        assert ask(run, reveal).ranking == tuple(np.argsort(-inside, kind="stable")[:top])
        outside = inside.copy()
        outside[generator.integers(3)] += (1 if number % 2 else -1) * int(generator.integers(2**15, 2**61))
        with pytest.raises(AnswerOutOfRange):
            ask(run_on_fast(program, {}, {"x0": outside}, number=number), reveal)
        refused += 1
    assert refused == 100


def chain(gate: Op, frac: int) -> Program:
    """Three numbers doubled, then a gate: what it reads is declared to be as large as what was shared."""
    kind = TensorType((3,), QType(frac=12, lo=-7.9, hi=7.0))
    nodes = (
        Node("doubled", Add(), ("x0", "x0"), kind),
        Node("gate", gate, ("doubled",), TensorType((3,), QType(frac=frac, lo=-(2.0**20), hi=2.0**20)), guarded=True),
    )
    return Program({"x0": kind}, {}, nodes, "gate")


SPLINE = next(op for op, _ in CASES if isinstance(op, Spline) and op.input_frac == 12 and op.lo < 0)
CHAINS = {
    "relu": chain(Relu(), 12),
    "coarse relu": chain(Relu(4), 12),
    "nonnegative": chain(Nonnegative(), 0),
    "spline": chain(SPLINE, SPLINE.frac),
    "grid": chain(GridSpline(-8 << 12, 12, tuple((knot << 12, 1) for knot in range(16)), 12, 12), 12),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("goal", ["wan", "material"])
def test_a_tampered_model_never_answers(name: str, goal: str) -> None:
    """60 of 60: values behind bounds that are too small. The client gets neither label nor logits."""
    program = CHAINS[name]
    plan = make_plan(program, OBJECTIVES[goal])
    refused = 0
    for number in range(60):
        generator = np.random.default_rng(number)
        inside = generator.integers(-4 << 12, 3 << 12, 3)
        run = run_plan(plan, {}, {"x0": inside}, number)
        assert ask(run, Disclosure()).ranking
        assert (run.output == replay(run, {}, {"x0": inside})).all()
        outside = inside.copy()
        place = generator.integers(3)
        outside[place] = generator.integers(5 << 12, 7 << 12) if number % 2 else generator.integers(-8 << 12, -5 << 12)
        try:
            ask(run_plan(plan, {}, {"x0": outside}, number), Disclosure())
        except AnswerOutOfRange:
            refused += 1
    assert refused == 60


def test_selections_of_garbage_are_refused() -> None:
    """Scores beyond their range: a permutation of the tokens that is no answer, or no permutation at all."""
    kind = TensorType((5,), QType(frac=4, lo=-1.0, hi=1.0))
    program = guarded(one_op(Order(), kind))
    for number in range(100):
        generator = np.random.default_rng(number)
        codes = generator.integers(-16, 16, 5)
        codes[generator.integers(5)] += (1 if number % 2 else -1) * int(generator.integers(2**10, 2**50))
        try:
            trusted = run_on_fast(program, {}, {"x0": codes}, number=number).trusted
        except ProtocolViolation:
            continue
        assert not trusted


@pytest.fixture(scope="module")
def guarded_model(tiny_model: VisionTransformer) -> Exported:
    """The tiny model with guards."""
    return export_vit(tiny_model, make_images(TINY, 64), Precision(guards=True))


def test_a_guarded_model_costs_no_round(guarded_model: Exported, tiny_exported: Exported) -> None:
    """Every gate is guarded, no message changes, and the keys are a little longer."""
    gates = [node for node in guarded_model.program.nodes if node.op.guardable]
    assert gates
    assert all(node.guarded for node in gates)
    assert not any(node.guarded for node in tiny_exported.program.nodes)
    plans = [make_plan(exported.program, DEFAULT_OBJECTIVE) for exported in (guarded_model, tiny_exported)]
    with_guards, without = (fast_cost(plan).total for plan in plans)
    assert with_guards.rounds <= without.rounds
    assert sum(without.material_bytes) < sum(with_guards.material_bytes) < 1.5 * sum(without.material_bytes)
    codes = pixel_codes(make_images(TINY, 1, seed=9)[0])
    run = run_on_fast(guarded_model.program, guarded_model.weights, {"image": codes})
    assert run.trusted
    assert (run.output == replay(run, guarded_model.weights, {"image": codes})).all()


@pytest.mark.slow
@pytest.mark.parametrize("reveal", [Disclosure(), Disclosure.label()], ids=str)
def test_a_model_with_ranges_too_small_never_answers(tiny_model: VisionTransformer, reveal: Disclosure) -> None:
    """Its comparisons go wrong, and the client hears that and nothing else; 30 of 30 pictures."""
    images = make_images(TINY, 64)
    exported = export_vit(tiny_model, images, Precision(guards=True), reveal)
    program, refused = tampered(exported.program), 0
    for number, picture in enumerate(pixel_codes(images[:30])):
        with pytest.raises(AnswerOutOfRange):
            ask(run_on_fast(program, exported.weights, {"image": picture}, number=number), reveal)
        refused += 1
    assert refused == 30


def test_digests_are_fresh_and_hide_what_they_are_of() -> None:
    """Two runs on the same input have nothing in common; a Program without gates has a digest, too."""
    program = guarded(one_op(Nonnegative(), TensorType((4,), QType(frac=0, lo=-8, hi=8))))
    codes = np.array([1, -2, 3, 0])
    digests = [run_on_fast(program, {}, {"x0": codes}, number=number).digests for number in (1, 2)]
    assert len({digest for pair in digests for digest in pair}) == 2
    assert {len(digest) for pair in digests for digest in pair} == {32}
    none = one_op(Add(), TensorType((4,), QType(frac=0, lo=-8, hi=8)), TensorType((4,), QType(frac=0, lo=-8, hi=8)))
    run = run_on_fast(none, {}, {"x0": codes, "x1": codes})
    assert run.trusted
    assert len(run.digests[0]) == 32


def test_only_gates_have_guards() -> None:
    """A guard of anything else is no Program; Programs keep their guards in files."""
    program = one_op(Nonnegative(), TensorType((4,), QType(frac=0, lo=-8, hi=8)))
    assert Program.from_json(guarded(program).to_json()) == guarded(program) != program
    kind = TensorType((4,), QType(frac=0, lo=-8, hi=8))
    with pytest.raises(ProgramError, match="guards of gates only"):
        Program({"x": kind}, {}, (Node("y", Add(), ("x", "x"), kind, guarded=True),), "y")
