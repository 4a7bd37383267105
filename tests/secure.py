"""Running Programs and single ops on shares in this process, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mpcvit.ops import Op, TensorType
from mpcvit.program.dealer import deal, plan
from mpcvit.program.program import Node, Program
from mpcvit.program.stock import run_stock
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.qtype import QType
from mpcvit.ring.sharing import join, mask, split
from mpcvit.session.link import Link
from mpcvit.session.local import run_parties
from mpcvit.session.provider import Provider
from mpcvit.session.session import Session
from mpcvit.session.trace import Trace

BINDING = bytes(32)


def seed(number: int) -> bytes:
    """A reproducible 32-byte seed."""
    return number.to_bytes(32, "little")


def share(codes: Codes, parties: int, index: int, label: str, base: int = 1000) -> Codes:
    """Party ``index``'s share of ``codes``."""
    prgs = [Prg(seed(base + party)) for party in range(parties - 1)]
    return mask(prgs[index], codes.shape, label) if index < parties - 1 else split(codes, prgs, label)


@dataclass(frozen=True)
class SecureRun:
    """What a secure run gave: the joined output and every party's trace."""

    output: Codes
    traces: list[Trace]


def run_secure(
    program: Program,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    parties: int = 2,
    dealer_seed: int = 1,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> SecureRun:
    """``program`` on shares by ``parties`` threads with a dealer of the given seed."""
    materials = deal(program, parties, Prg(seed(dealer_seed)))

    def party(link: Link) -> tuple[Codes, Trace]:
        index = link.index
        provider = Provider(plan(program, parties), materials[index], last=index == parties - 1)
        with Session(wrap_link(link), Prg(seed(500 + index + 16 * dealer_seed)), provider, binding=BINDING) as session:
            output = run_stock(
                session,
                program,
                {name: share(codes, parties, index, name) for name, codes in weights.items()},
                {name: share(codes, parties, index, name) for name, codes in inputs.items()},
            )
            return output, session.trace

    results = run_parties(parties, party)
    return SecureRun(join([output for output, _ in results]), [trace for _, trace in results])


def one_op(op: Op, *inputs: TensorType, magnitude: float = 2.0**20) -> Program:
    """A Program of a single op whose output bounds are generous."""
    shape, frac = op.infer(*inputs)
    names = [f"x{i}" for i in range(len(inputs))]
    bound = min(magnitude, 2.0 ** (61 - frac))
    node = Node("op", op, tuple(names), TensorType(shape, QType(frac=frac, lo=-bound, hi=bound)))
    return Program(dict(zip(names, inputs, strict=True)), {}, (node,), "op")


def random_codes(kind: TensorType, generator: np.random.Generator) -> Codes:
    """Codes uniform in the type's range."""
    scale = 2.0**kind.frac
    lo, hi = int(np.ceil(kind.qtype.lo * scale)), int(np.floor(kind.qtype.hi * scale))
    return generator.integers(lo, hi, kind.shape, endpoint=True, dtype=np.int64)
