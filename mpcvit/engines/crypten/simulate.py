"""An inference on CrypTen's protocols with all roles in one process: what client, dealer and parties do together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mpcvit.engines.crypten.dealer import deal, plan
from mpcvit.engines.crypten.executor import run_stock
from mpcvit.engines.crypten.provider import Provider
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.setup_round import BINDING_BYTES
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import join, shares
from mpcvit.transport.link import Link
from mpcvit.transport.threads import run_parties
from mpcvit.transport.trace import Trace


@dataclass(frozen=True)
class CryptenRun:
    """What came of an inference.

    Attributes:
        output: the codes that the client joins.
        shares: all parties', of the output.
        traces: all parties'.
    """

    output: Codes = field(repr=False)
    shares: tuple[Codes, ...] = field(repr=False)
    traces: tuple[Trace, ...]


def run(
    program: Program,
    weights: Mapping[str, Codes],
    inputs: Mapping[str, Codes],
    seed: bytes,
    *,
    parties: int = 2,
    wrap_link: Callable[[Link], Link] = lambda link: link,
) -> CryptenRun:
    """Run ``program`` once, in one thread per party.

    Args:
        weights: codes of every parameter.
        inputs: codes of every input, without batch axis.
        seed: 32 bytes from which the randomness of all roles is derived.
        wrap_link: gives what a party sees in place of its link.

    Raises:
        MpcvitError: as :func:`~mpcvit.engines.crypten.executor.run_stock`.
    """
    roles = Prg(seed)
    owners, clients = ([Prg(roles.derive(role, i)) for i in range(parties - 1)] for role in ("owner", "client"))
    weight_shares = {name: shares(codes, owners, name) for name, codes in weights.items()}
    input_shares = {name: shares(codes, clients, name) for name, codes in inputs.items()}
    materials = deal(program, parties, Prg(roles.derive("dealer")))
    secrets = [roles.derive("party", index) for index in range(parties)]

    def party(link: Link) -> tuple[Codes, Trace]:
        index = link.index
        own_weights = {name: every[index] for name, every in weight_shares.items()}
        own_inputs = {name: every[index] for name, every in input_shares.items()}
        provider = Provider(plan(program, parties), materials[index], last=index == parties - 1)
        with Session(wrap_link(link), Prg(secrets[index]), provider, binding=bytes(BINDING_BYTES)) as session:
            return run_stock(session, program, own_weights, own_inputs), session.trace

    results = run_parties(parties, party)
    outputs = tuple(output for output, _ in results)
    return CryptenRun(join(outputs), outputs, tuple(trace for _, trace in results))
