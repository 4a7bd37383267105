"""The stock executor: a Program through CrypTen's own protocols, for any number of parties."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from mpcvit.program.program import Program
from mpcvit.program.reference import Weights, check_weights
from mpcvit.ring.fixed_point import Codes
from mpcvit.session.primitives import shared
from mpcvit.session.session import Session


def run_stock(
    session: Session,
    program: Program,
    weights: Weights,
    inputs: Mapping[str, Codes],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Codes:
    """This party's share of the output.

    Args:
        session: the active session.
        weights: this party's share of every parameter.
        inputs: this party's share of every input, without batch axis.
        progress: called with (nodes done, nodes in total) after every node.

    Raises:
        ShapeMismatch: the weight shares do not fit the Program.
        ProtocolViolation, PeerLost, PeerTimeout, DealerLost, DealerTimeout: as the link and the material say.
    """
    check_weights(program, weights)
    values = {name: shared(torch.from_numpy(np.asarray(share))) for name, share in {**weights, **inputs}.items()}
    for done, (node, finished) in enumerate(program.in_order(), start=1):
        with session.step(node.name):
            values[node.name] = node.op.stock(session, *(values[name] for name in node.inputs))
        for name in finished:
            del values[name]
        progress(done, len(program.nodes))
    output: Codes = values[program.output].share.contiguous().numpy()
    return output
