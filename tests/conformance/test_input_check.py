"""What a client shares is a picture, or the inference ends at both parties: nothing else gets through."""

from __future__ import annotations

import numpy as np
import pytest

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import make_plan
from mpcvit.engines.masked.protocols.input_check_by_dcf import InputCheckByDcf
from mpcvit.engines.masked.protocols.input_check_by_dpf import InputCheckByDpf
from mpcvit.errors import InputOutOfRange, ProgramError
from mpcvit.export.vit import Exported
from mpcvit.ops import InputCheck, TensorType
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import PIXEL, QType
from tests.support.fast import run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.models import TINY
from tests.support.secure import one_op, run_secure

SHAPE = (4, 6)
PROGRAM = one_op(InputCheck(8), TensorType(SHAPE, PIXEL))
#: One wrong code each.
WRONG = [256, -1, 2**62, -(2**62), -(2**63), *(k * 2**56 for k in (1, 2, 3, 127, -128, -1)), 2**8 * 3, 2**32, -256]


def pictures(generator: np.random.Generator) -> Codes:
    return generator.integers(0, 256, SHAPE, dtype=np.int64)


def test_every_pixel_passes() -> None:
    """All 256 values come out as they went in, with 32 bytes and no round but the message that carries them."""
    program = one_op(InputCheck(8), TensorType((256,), PIXEL))
    codes = np.arange(256, dtype=np.int64)
    for number in (1, 2, 3):
        run = run_on_fast(program, {}, {"x0": codes}, number=number)
        assert (run.output == codes).all()
    assert [step.protocol.agreements for step in run.plan.steps] == [0, 1, 0]
    assert sum(run.plan.messages) == run.traces[0].total().bytes_sent == 8 * 256 + 32


def refused(codes: Codes, number: int) -> bool:
    """Whether the fast engine refuses, at both parties."""
    try:
        run_on_fast(PROGRAM, {}, {"x0": codes}, number=number)
    except InputOutOfRange:
        return True
    return False


def test_a_thousand_of_a_thousand_wrong_inputs_are_refused() -> None:
    """One code beside or far from the range, multiples of large powers of two, and words of a liar."""
    generator = np.random.default_rng(0)
    caught = 0
    for number in range(1000):
        codes = pictures(generator)
        if number % 4 == 3:
            codes = generator.integers(-(2**63), 2**63 - 1, SHAPE, endpoint=True, dtype=np.int64)
        else:
            place = generator.integers(codes.size)
            far = int(generator.integers(1, 256)) << int(generator.integers(8, 56))
            codes.reshape(-1)[place] = WRONG[number % len(WRONG)] if number % 4 else far
        caught += refused(codes, number)
    assert caught == 1000


def test_values_of_fewer_bits() -> None:
    """The range is the check's, not the byte's."""
    program = one_op(InputCheck(3), TensorType((8,), QType(frac=0, lo=0.0, hi=7.0)))
    assert (run_on_fast(program, {}, {"x0": np.arange(8)}).output == np.arange(8)).all()
    with pytest.raises(InputOutOfRange):
        run_on_fast(program, {}, {"x0": np.array([0, 1, 2, 3, 4, 5, 6, 8])})


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_wide_codes_are_compared(bits: int) -> None:
    """All codes at the ends pass as they are; whatever is one beside them, or far from them, does not."""
    largest = (1 << bits) - 1
    program = one_op(InputCheck(bits), TensorType((6,), QType(frac=0, lo=0.0, hi=float(largest))))
    codes = np.array([0, 1, 255, 256, largest - 1, largest])
    for number in range(1, 21):
        assert (run_on_fast(program, {}, {"x0": codes}, number=number).output == codes).all()
        for wrong in (largest + 1, -1, 2**62, -(2**63), number << bits, -(number << 40)):
            with pytest.raises(InputOutOfRange, match=f"from 0 to {largest}"):
                run_on_fast(program, {}, {"x0": np.array([*codes[:5], wrong])}, number=number)
    assert (run_secure(program, {}, {"x0": codes}, 2).output == codes).all()
    with pytest.raises(InputOutOfRange):
        run_secure(program, {}, {"x0": codes + 1}, 2)


def test_a_wide_code_costs_no_round_either() -> None:
    """32 bytes sent for the whole input; 368 dealt per 16-bit code to either party, 8 more to party 1."""
    program = one_op(InputCheck(16), TensorType((10,), QType(frac=0, lo=0.0, hi=65535.0)))
    plan = make_plan(program, DEFAULT_OBJECTIVE)
    (step,) = (step for step in plan.steps if isinstance(step.protocol, InputCheckByDcf))
    assert step.protocol.material() == (368 * 10, 376 * 10)
    assert sum(plan.messages) == 8 * 10 + 32


@pytest.mark.parametrize("parties", [2, 3])
def test_the_stock_engine_refuses_too(parties: int) -> None:
    """At every party, for any number of them; what is right passes."""
    codes = pictures(np.random.default_rng(1))
    assert (run_secure(PROGRAM, {}, {"x0": codes}, parties).output == codes).all()
    for wrong in WRONG:
        codes.reshape(-1)[5] = wrong
        with pytest.raises(InputOutOfRange):
            run_secure(PROGRAM, {}, {"x0": codes}, parties)


def test_the_reference_refuses_too() -> None:
    """One code outside in a batch is enough."""
    batch = np.zeros((3, *SHAPE), dtype=np.int64)
    assert (run_reference(PROGRAM, {}, {"x0": batch}) == batch).all()
    for wrong in WRONG:
        batch[2, 1, 1] = wrong
        with pytest.raises(InputOutOfRange, match="no picture"):
            run_reference(PROGRAM, {}, {"x0": batch})


def test_a_check_of_what_is_no_pixel_is_no_program() -> None:
    """Fractions, wider values and other numbers of bits are refused when the Program is built."""
    wrong = [QType(frac=1, lo=0, hi=1), QType(frac=0, lo=-1, hi=1), QType(frac=0, lo=0, hi=256)]
    for kind in wrong:
        with pytest.raises(ProgramError):
            InputCheck(8).infer(TensorType(SHAPE, kind))
    for bits in (0, 17):
        with pytest.raises(ProgramError):
            InputCheck(bits).infer(TensorType(SHAPE, QType(frac=0, lo=0, hi=0)))


def test_exported_programs_check_in_no_round(tiny_exported: Exported) -> None:
    """The check is part of every Program: no round, 32 bytes sent, 128 dealt to each party per pixel."""
    program = tiny_exported.program
    plan = make_plan(program, DEFAULT_OBJECTIVE)
    (step,) = (step for step in plan.steps if isinstance(step.protocol, InputCheckByDpf))
    pixels = 3 * TINY.image_size**2
    assert step.protocol.material() == (128 * pixels, 128 * pixels)
    unchecked = make_plan(_unchecked(program), DEFAULT_OBJECTIVE)
    assert len(plan.messages) == len(unchecked.messages)
    assert sum(plan.messages) == sum(unchecked.messages) + 32
    assert fast_cost(plan).steps[step.name].bytes_sent == (32, 32)
    codes = pixel_codes(make_images(TINY, 1, seed=9)[0])
    assert run_on_fast(program, tiny_exported.weights, {"image": codes}).traces[0].total().rounds == 1 + len(
        plan.messages
    )
    codes[0, 0, 0] = 300
    with pytest.raises(InputOutOfRange):
        run_on_fast(program, tiny_exported.weights, {"image": codes})


def _unchecked(program: Program) -> Program:
    """The same without the check."""
    names = {node.name: node.inputs[0] for node in program.nodes if isinstance(node.op, InputCheck)}
    nodes = tuple(
        Node(node.name, node.op, tuple(names.get(name, name) for name in node.inputs), node.type)
        for node in program.nodes
        if node.name not in names
    )
    return Program(program.inputs, program.parameters, nodes, program.output)
