"""The stock executor: a Program through CrypTen's own protocols, for any number of parties."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

import mpcvit.engines.crypten.context  # noqa: F401  a party without crypten ends when it starts
from mpcvit.engines.crypten.kernel import kernel_for
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import shared
from mpcvit.program.program import Program
from mpcvit.program.reference import Weights, check_weights
from mpcvit.ring.fixed_point import Codes


def run_stock(
    session: Session,
    program: Program,
    weights: Weights,
    inputs: Mapping[str, Codes],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Codes:
    """Return this party's share of the output, under a fresh sharing of zero: with the others it says no more than
    their sum.

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
            values[node.name] = kernel_for(node.op).run(session, *(values[name] for name in node.inputs))
        for name in finished:
            del values[name]
        progress(done, len(program.nodes))
    share: Codes = values[program.output].share.contiguous().numpy()
    return share + session.zero(share.shape)
