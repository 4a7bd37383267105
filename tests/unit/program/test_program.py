"""Graphs of ops: what is malformed is refused, what a digest depends on, their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpcvit.errors import ModelFileError, ProgramError, RangeError, ShapeMismatch
from mpcvit.export.vit import Exported
from mpcvit.ops import Add, GridSpline, Linear, Multiply, Offset, Pad, Relu, Rescale, Scale, Spline, Sum, TensorType
from mpcvit.program.files import load_program, load_weights, save_program, save_weights
from mpcvit.program.program import Node, Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.qtype import QType


def t(shape: tuple[int, ...], frac: int = 8, bound: float = 4.0) -> TensorType:
    """A type with symmetric bounds."""
    return TensorType(shape, QType(frac=frac, lo=-bound, hi=bound))


def graph(*nodes: Node, output: str = "y") -> Program:
    """A Program of one input x [2, 3] and one parameter w [3, 4]."""
    return Program({"x": t((2, 3))}, {"w": t((3, 4))}, nodes, output)


GOOD = (
    Node("z", Linear(), ("x", "w"), t((2, 4), 16, 100)),
    Node("y", Rescale(8), ("z",), t((2, 4), 8, 100)),
)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((Node("y", Linear(), ("w", "x"), t((3, 3), 16)),), "equal inner dimension"),
        ((Node("y", Relu(), ("nowhere",), t((2, 3))),), r"reading \['nowhere'\]"),
        ((Node("x", Relu(), ("x",), t((2, 3))),), "a second value named 'x'"),
        ((Node("y", Relu(), ("x",), t((2, 4))),), "declared as"),
        ((Node("y", Relu(), ("x",), t((2, 3), 9)),), "declared as"),
        ((Node("y", Relu(), ("x", "w"), t((2, 3))),), "with 2 inputs"),
        ((Node("y", Add(), ("x", "w"), t((2, 3))),), "shapes that broadcast"),
        ((Node("y", Sum(0), ("x",), t((2, 3))),), "Count axes from the end"),
        ((Node("y", Rescale(9), ("x",), t((2, 3))),), "1 to 8 bits"),
        ((Node("z", Relu(), ("x",), t((2, 3))),), "output 'y'"),
    ],
)
def test_malformed_graphs_are_refused(nodes: tuple[Node, ...], message: str) -> None:
    """Every mistake gets an error that names the node."""
    with pytest.raises(ProgramError, match=message):
        graph(*nodes)


def test_unequal_precision_is_refused() -> None:
    """Addition needs equal fractional bits."""
    with pytest.raises(ProgramError, match="equal fractional bits"):
        Program({"x": t((2,)), "v": t((2,), 9)}, {}, (Node("y", Add(), ("x", "v"), t((2,))),), "y")


SPLINE = Spline(origins=(0,), coefficients=((0, 1 << 9),), input_frac=8, frac=17, lo=0, hi=4 << 8)
GRID = GridSpline(origin=0, shift=8, coefficients=((0, 1), (256, 1), (512, 1), (768, 1)), input_frac=8, frac=8)


def test_values_outside_a_spline_s_domain_are_refused() -> None:
    """The range check: an input that may leave the domain fails the Program."""
    with pytest.raises(RangeError, match="spline input"):
        graph(Node("y", SPLINE, ("x",), t((2, 3))))


def test_values_outside_a_grid_are_refused() -> None:
    """A grid spline holds from its first to its last knot."""
    with pytest.raises(RangeError, match="grid_spline input"):
        graph(Node("y", GRID, ("x",), t((2, 3))))


def test_a_spline_of_another_precision_is_refused() -> None:
    """A spline reads codes of the fractional bits that it was fitted for."""
    with pytest.raises(ProgramError, match="9 fractional bits"):
        graph(Node("y", replace(SPLINE, input_frac=9), ("x",), t((2, 3))))


@pytest.mark.parametrize(
    "change",
    [
        {"origins": (0, 0), "coefficients": ((1, 1), (1, 1))},
        {"origins": (1, 0), "coefficients": ((1, 1), (1, 1))},
        {"origins": (), "coefficients": ()},
        {"origins": (0, 1)},
        {"coefficients": ((1,), (1, 2))},
        {"lo": 5},
        {"hi": -1},
    ],
)
def test_malformed_splines_are_refused(change: dict) -> None:
    """Origins ascend, rows are equally long, the domain holds the last origin."""
    with pytest.raises(ProgramError, match="ascending origins"):
        replace(SPLINE, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"coefficients": ((0, 1),)},
        {"coefficients": ((0, 1), (0, 1), (0, 1))},
        {"coefficients": ((0, 1), (0, 1, 2))},
        {"shift": 0},
    ],
)
def test_malformed_grid_splines_are_refused(change: dict) -> None:
    """A power of two of equally long rows, knots at least two codes apart."""
    with pytest.raises(ProgramError, match="power of two"):
        replace(GRID, **change)


@pytest.mark.parametrize("drop", [-1, 11, 60])
def test_a_relu_that_ignores_every_bit_is_refused(drop: int) -> None:
    """At least one bit of the largest code decides."""
    graph(Node("y", Relu(10), ("x",), t((2, 3))))
    with pytest.raises(ProgramError, match="ignores"):
        graph(Node("y", Relu(drop), ("x",), t((2, 3))))


@pytest.mark.parametrize(("axis", "count"), [(0, 1), (-3, 1), (-1, 0)])
def test_malformed_pads_are_refused(axis: int, count: int) -> None:
    """Axes count from the end, and something is added."""
    with pytest.raises(ProgramError, match=r"axis|at least 1"):
        graph(Node("y", Pad(axis, count), ("x",), t((2, 3))))


def test_scale_by_zero_is_refused() -> None:
    """A factor of zero is a mistake at export."""
    with pytest.raises(ProgramError):
        Scale(0, 3)


def test_digest_sees_every_attribute() -> None:
    """Changing any field of any node changes the digest; equal Programs have equal digests."""
    base = graph(*GOOD)
    assert base.digest == graph(*GOOD).digest
    renamed = graph(GOOD[0], replace(GOOD[1], name="y2"), output="y2")
    bounds = graph(GOOD[0], replace(GOOD[1], type=t((2, 4), 8, 101)))
    more = graph(*GOOD, Node("w2", Offset(1), ("y",), t((2, 4), 8, 101)))
    assert len({base.digest, renamed.digest, bounds.digest, more.digest}) == 4


def test_files_round_trip(tiny_exported: Exported, tmp_path: Path) -> None:
    """A saved Program and its weights load as they were, in narrow integers."""
    save_program(tiny_exported.program, tmp_path)
    save_weights(tiny_exported.program, tiny_exported.weights, tmp_path)
    program = load_program(tmp_path)
    assert program == tiny_exported.program
    assert program.digest == tiny_exported.program.digest
    weights = load_weights(program, tmp_path)
    assert all((weights[name] == codes).all() for name, codes in tiny_exported.weights.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "reading"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "without a readable"),
        ('{"format": 1, "nodes": [{"name": "y", "op": "os.system"}]}', "without a readable"),
    ],
)
def test_damaged_program_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """Not JSON, another version, missing fields, unknown ops: typed errors, nothing executed."""
    (tmp_path / "program.json").write_text(text)
    with pytest.raises(ModelFileError, match=message):
        load_program(tmp_path)


def test_unknown_attributes_are_refused(tmp_path: Path) -> None:
    """An op with an attribute that this version does not know is an error."""
    document = graph(*GOOD).to_json()
    document["nodes"][1]["attributes"]["more"] = 1
    (tmp_path / "program.json").write_text(json.dumps(document))
    with pytest.raises(ModelFileError):
        load_program(tmp_path)


def test_weights_of_another_program_are_refused(tiny_exported: Exported) -> None:
    """A missing, surplus or misshapen weight is named."""
    weights = dict(tiny_exported.weights)
    weights["head.bias"] = weights["head.bias"][:2]
    codes = np.zeros((1, 3, 8, 8), dtype=np.int64)
    with pytest.raises(ShapeMismatch, match=r"head\.bias"):
        run_reference(tiny_exported.program, weights, {"image": codes})
    with pytest.raises(ShapeMismatch, match="input 'image'"):
        run_reference(tiny_exported.program, tiny_exported.weights, {"image": codes[0]})


def test_liveness_frees_every_value_once() -> None:
    """Every value but the output is released after its last reader, and not before."""
    program = graph(
        *GOOD[:1],
        Node("y", Rescale(8), ("z",), t((2, 4), 8, 100)),
        Node("q", Multiply(), ("y", "y"), t((2, 4), 16, 100)),
        output="q",
    )
    freed = {node.name: done for node, done in program.in_order()}
    assert freed == {"z": ["x", "w"], "y": ["z"], "q": ["y"]}
