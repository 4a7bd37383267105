"""Writes the known answers anew: ``python -m tests.vectors.generate``.

Parties and dealers of different versions understand each other only while these files stay as they are. What changes
one of them is a new version of the protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from mpcvit import zoo
from mpcvit.engines.masked.plan import Plan
from mpcvit.ops import (
    Add,
    GridSpline,
    InputCheck,
    Multiply,
    Nonnegative,
    Op,
    Order,
    Pick,
    Relu,
    Rescale,
    Spline,
    Square,
    TensorType,
)
from mpcvit.program.program import Program
from mpcvit.ring.prg import Prg
from mpcvit.ring.qtype import PIXEL, QType, pixel_type
from mpcvit.ring.sharing import shares
from tests.support.cases import t
from tests.support.fss_keys import roots, seed, uniform
from tests.support.known_answers import VECTORS, KeyVector, StepVector, Vector, candidates, hexed, shipped_answer
from tests.support.protocol_variants import masked_op
from tests.support.secure import one_op

SESSION = bytes(range(16)).hex()
SMALL = t((3,), frac=4)
SPLINE = Spline(((-8 << 4), 0), ((5 << 8, -20, 1), (3 << 8, 100, -7)), input_frac=4, frac=8, lo=-8 << 4, hi=8 << 4)
GRID = GridSpline(-8 << 4, 6, tuple(((knot - 2) << 9, knot - 1) for knot in range(4)), input_frac=4, frac=9)
RANKS = TensorType((3,), QType(frac=0, lo=0.0, hi=2.0))

#: Programs that use every protocol between them, with codes of their inputs.
PROGRAMS: list[tuple[str, Op, tuple[TensorType, ...], list[list[int]]]] = [
    ("add", Add(), (SMALL, SMALL), [[1, -128, 127], [5, 128, -3]]),
    ("square", Square(), (SMALL,), [[0, -128, 127]]),
    ("multiply", Multiply(), (SMALL, SMALL), [[1, -128, 127], [5, 128, -3]]),
    ("rescale", Rescale(5), (t((3,), frac=10),), [[31, -8192, 8191]]),
    ("relu", Relu(), (SMALL,), [[0, -128, 127]]),
    ("nonnegative", Nonnegative(), (SMALL,), [[0, -1, 127]]),
    ("spline", SPLINE, (SMALL,), [[0, -128, 127]]),
    ("grid spline", GRID, (t((3,), frac=4, bound=3.9),), [[0, -62, 62]]),
    ("input check", InputCheck(2), (TensorType((3,), replace(PIXEL, hi=3.0)),), [[0, 3, 2]]),
    ("wide input check", InputCheck(12), (TensorType((3,), pixel_type(12)),), [[0, 4095, 1000]]),
    ("pick", Pick(1, 2), (RANKS, SMALL), [[2, 0, 1], [7, -128, 127]]),
    ("order", Order(), (SMALL,), [[5, -128, 127]]),
]

#: Of these, the inputs come Shared: the op has nothing to deal, or opens them itself.
_SHARED = ("add", "square", "rescale")


def keys(kind: str, bits: int, payload: int) -> Vector:
    """Keys for three secrets, at points around them, good and tampered."""
    secrets = uniform((3,), bits, number=bits)
    points = np.stack([secrets, secrets - np.minimum(secrets, np.uint64(1)), uniform((3,), bits, number=90)])
    given: Vector = {"kind": kind, "session": SESSION, "bits": bits, "secrets": secrets.tolist()}
    given |= {"roots": list(map(hexed, roots(3, number=bits))), "points": points.tolist()}
    if payload:
        given["payload"] = uniform((3, payload), number=91).tolist()
    vector = KeyVector(given)
    answer = vector.answer()
    tampered = []
    for part, key in enumerate(answer["keys"]):
        outcomes = _outcomes(key, {"part": part}, 1, lambda change: vector.tampered(answer["keys"], change))
        tampered += _telling(outcomes, {"result": answer["result"]}, flips=3)
    return {"name": f"{kind}, {bits} bits", "given": given, "answer": answer, "tampered": tampered}


def steps() -> list[Vector]:
    """A vector for each class of protocol that the programs offer."""
    vectors: dict[str, Vector] = {}
    for name, op, kinds, codes in PROGRAMS:
        program = (one_op if name in _SHARED else masked_op)(op, *kinds)
        for plan in candidates(program):
            protocol = plan.steps[plan.step_index["op"]].protocol
            guard = " with a guard" if getattr(protocol, "guarded", False) else ""
            title = f"{name} by {type(protocol).__name__}{guard}"
            if title not in vectors:
                vectors[title] = step(title, program, plan, codes)
    return list(vectors.values())


def step(title: str, program: Program, plan: Plan, codes: list[list[int]]) -> Vector:
    """A plan dealt and run, good and tampered."""
    inputs = {
        name: np.array(one) << (program.inputs[name].frac - kind.frac)
        for (name, kind), one in zip(_read(program), codes, strict=True)
    }
    prg = Prg((1000).to_bytes(32, "little"))
    given = {
        "program": program.to_json(),
        "protocol": repr(plan.steps[plan.step_index["op"]].protocol),
        "session": SESSION,
        "seeds": [seed(number).hex() for number in (1, 2)],
        "common": seed(3).hex(),
        "inputs": {name: list(map(hexed, shares(one, [prg], name))) for name, one in inputs.items()},
    }
    vector = StepVector(given)
    answer = vector.answer()
    good = {"output": answer["output"], "trusted": True}
    tampered = []
    for party, material in enumerate(answer["material"]):
        for name, raw in material.items():
            place = {"party": party, "step": name}
            outcomes = _outcomes(raw, place, 5, lambda change: vector.tampered(answer["material"], change))
            tampered += _telling(outcomes, good, flips=1)
    return {"name": title, "given": given, "answer": answer, "tampered": tampered}


def _read(program: Program) -> list[tuple[str, TensorType]]:
    """The Program's inputs, with the types in which its node ``op`` reads them."""
    (op,) = (node for node in program.nodes if node.name == "op")
    return list(zip(program.inputs, program.input_types(op), strict=True))


def _outcomes(raw: str, place: Vector, stride: int, tampered: Callable[[Vector], Vector]) -> Iterator[Vector]:
    """Changes with their answers: the last byte cut, then a bit flipped every ``stride`` bytes."""
    flips = ({"change": "flip", "byte": byte, "xor": 1 << byte % 8} for byte in range(0, len(raw) // 2, stride))
    for change in ({"change": "cut"}, *flips):
        yield {**place, **change, "answer": tampered({**place, **change})}


def _telling(outcomes: Iterator[Vector], good: Vector, flips: int) -> list[Vector]:
    """The cut, and the first so many flips that change what comes of it."""
    return list(islice((one for one in outcomes if one["answer"] != good), 1 + flips))


def write(name: str, vectors: list[Vector]) -> None:
    """Write one file."""
    (VECTORS / f"{name}.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    kinds = [("compare", 5, 0), ("compare", 9, 0), ("dcf", 4, 1), ("dcf", 6, 2), ("unit vector", 3, 2)]
    write("fss_keys", [keys(*one) for one in kinds])
    write("dealt_steps", steps())
    write("shipped", [{"name": name, "answer": shipped_answer(name)} for name in zoo.names()])
