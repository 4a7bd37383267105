"""Running Programs and single ops on shares in this process, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mpcvit.engines.crypten import simulate
from mpcvit.engines.crypten.simulate import CryptenRun
from mpcvit.ops import Op, TensorType
from mpcvit.program.program import Node, Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.qtype import QType
from mpcvit.transport.link import Link

BINDING = bytes(32)


def seed(number: int) -> bytes:
    """A reproducible 32-byte seed."""
    return number.to_bytes(32, "little")


def run_secure(
    program: Program,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    parties: int = 2,
    number: int = 1,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> CryptenRun:
    """``program`` on shares; all randomness follows from ``number``."""
    return simulate.run(program, weights, inputs, seed(number), parties=parties, wrap_link=wrap_link)


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
