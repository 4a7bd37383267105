"""Links, correlations, the provider and the CrypTen context."""

from __future__ import annotations

import sys
import types
from collections import Counter

import numpy as np
import pytest
import torch

from mpcvit.errors import (
    DealerLost,
    InternalError,
    PeerLost,
    PeerTimeout,
    ProtocolViolation,
)
from mpcvit.ring.prg import Prg
from mpcvit.session import crypten_context
from mpcvit.session.correlations import (
    AndTriple,
    BitPair,
    Correlation,
    Product,
    ProductTriple,
    SquarePair,
    WrapPair,
)
from mpcvit.session.link import Frame, Link
from mpcvit.session.local import run_parties
from mpcvit.session.material import MemoryMaterial
from mpcvit.session.memory_link import MemoryLink, memory_links
from mpcvit.session.node_material import NodeDealing, NodeMaterial
from mpcvit.session.primitives import shared
from mpcvit.session.provider import Planned, Provider
from mpcvit.session.session import Session
from tests.secure import BINDING, seed


def test_exchange_counts_rounds_bytes_and_order() -> None:
    """Three parties see each other's payloads in party order; each counts one round and its own bytes."""

    def party(link: MemoryLink) -> list[bytes]:
        payloads = [bytes(p) for p in link.exchange("tag", bytes([link.index] * 5))]
        assert (link.trace.of("tag").rounds, link.trace.of("tag").bytes_sent) == (1, 10)
        assert link.trace.of("tag").bytes_received == 10
        return payloads

    assert run_parties(3, party) == [[b"\0" * 5, b"\1" * 5, b"\2" * 5]] * 3


def test_gather_is_one_way() -> None:
    """Only the target receives; the target sends nothing."""

    def party(link: MemoryLink) -> tuple[int, int]:
        payloads = link.gather("tag", bytes([link.index]), to=0)
        return len(payloads), link.trace.of("tag").bytes_sent

    assert run_parties(3, party) == [(3, 0), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    "frame", [Frame(0, "other", b"12"), Frame(1, "tag", b"12"), Frame(0, "tag", b"123"), Frame(0, "tag", b"")]
)
def test_wrong_tag_sequence_or_length_is_a_violation(frame: Frame) -> None:
    """A message that is not the expected one is refused, with both in the error."""
    first, second = memory_links(2)
    second._put(0, frame)
    with pytest.raises(ProtocolViolation, match="message 0 'tag' of 2 bytes"):
        first.exchange("tag", b"ab")


def test_silence_and_loss_are_typed() -> None:
    """A silent party is a timeout, a closed link is a loss."""
    first, second = memory_links(2, timeout_s=0.05)
    with pytest.raises(PeerTimeout):
        first.exchange("tag", b"x")
    second.close()
    with pytest.raises(PeerLost):
        first.exchange("tag", b"x")


def test_frames_hide_their_payload() -> None:
    """repr of a frame tells length, not content."""
    assert "6 bytes hidden" in repr(Frame(0, "tag", b"secret"))
    assert "secret" not in repr(Frame(0, "tag", b"secret"))


CORRELATIONS: list[Correlation] = [
    ProductTriple(Product.MUL, (3, 1), (3, 4)),
    ProductTriple(Product.MATMUL, (2, 3, 4), (4, 5)),
    SquarePair((7,)),
    AndTriple((2, 3)),
    BitPair((50,)),
    WrapPair((50,)),
]


def _combine(correlation: Correlation, shares: list[torch.Tensor]) -> torch.Tensor:
    total = shares[0]
    for share in shares[1:]:
        total = total ^ share if isinstance(correlation, AndTriple) else total + share
    return total


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("correlation", CORRELATIONS, ids=lambda c: type(c).__name__)
def test_dealt_shares_satisfy_the_relation(correlation: Correlation, parties: int) -> None:
    """The parties' dependent shares combine to the function of their free shares; the sizes are the declared ones."""
    streams = lambda: [Prg(seed(party)).stream("c") for party in range(parties)]  # noqa: E731
    correction = correlation.deal(streams())
    assert 8 * correction.numel() == correlation.material_bytes(parties)[-1]
    taken = [
        correlation.take(stream, correction if party == parties - 1 else None) for party, stream in enumerate(streams())
    ]
    expected = correlation.dependent([shares[:-1] for shares in taken])
    assert torch.equal(_combine(correlation, [shares[-1] for shares in taken]), expected)
    assert expected.shape == correlation.dependent_shape


def _planned(*correlations: Correlation) -> list[Planned]:
    return [Planned("node", index, correlation) for index, correlation in enumerate(correlations)]


def test_provider_refuses_what_is_not_planned() -> None:
    """A request out of order, of another shape, or beyond the end means that this party left the Program."""
    provider = Provider(iter(_planned(SquarePair((2,)))), MemoryMaterial(seed(1), b""), last=False)
    with pytest.raises(ProtocolViolation, match="SquarePair"):
        provider.product(Product.MUL, (2,), (2,))
    with pytest.raises(ProtocolViolation, match="no further request"):
        provider.square((2,))


def test_material_that_ends_early_is_dealer_loss() -> None:
    """Corrections for another Program or too few bytes are noticed."""
    provider = Provider(iter(_planned(SquarePair((2,)))), MemoryMaterial(seed(1), b"123"), last=True)
    with pytest.raises(DealerLost, match="at least 16"):
        provider.square((2,))


def _session(link: Link, binding: bytes = BINDING) -> Session:
    provider = Provider(iter([]), MemoryMaterial(seed(1), b""), last=False)
    return Session(link, Prg(seed(40 + link.index)), provider, binding=binding)


def test_zero_sharings_cancel() -> None:
    """CrypTen's pseudo-random zero sharings, drawn from our streams, add up to zero and are not zero themselves."""

    def party(link: MemoryLink) -> torch.Tensor:
        with _session(link):
            return crypten_context.ArithmeticSharedTensor.PRZS((64,)).share

    for parties in (2, 3):
        shares = run_parties(parties, party)
        assert not sum(shares).any()
        assert all(share.any() for share in shares)


def test_parties_of_different_sessions_refuse_each_other() -> None:
    """The setup round compares the binding of session, model and lease before anything else."""

    def party(link: MemoryLink) -> None:
        with _session(link, bytes([link.index] * 32)):
            pytest.fail("the session must not start")

    with pytest.raises(PeerLost, match="another session, model or dealer lease"):
        run_parties(2, party)


def test_one_session_per_thread_and_none_outside() -> None:
    """CrypTen calls without a session, and a second session in one thread, are refused."""
    with pytest.raises(InternalError, match="outside a session"):
        crypten_context.ArithmeticSharedTensor.PRZS((2,))

    def party(link: MemoryLink) -> None:
        with _session(link) as session, pytest.raises(InternalError, match="one session per thread"):
            crypten_context.activate(session)

    run_parties(2, party)


def test_no_module_holds_crypten_s_own_generator() -> None:
    """The mask functions of every CrypTen primitive are ours; whoever still holds the old ones is never called."""
    from crypten.common import rng

    old = {rng.generate_random_ring_element, rng.generate_kbit_random_tensor}
    holders = {
        name
        for name, module in sys.modules.items()
        if name.startswith("crypten")
        and any(value in old for value in vars(module).values() if isinstance(value, types.FunctionType))
    }
    # where they are defined, and CrypTen's own providers, which are never asked
    unused = {"crypten.common.rng", "crypten.mpc.provider.tfp_provider", "crypten.mpc.provider.ttp_provider"}
    assert holders == unused


def test_crypten_configuration_is_frozen() -> None:
    """A typo in a CrypTen setting is an error."""
    import crypten
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    with pytest.raises((ConfigAttributeError, ConfigKeyError)):
        crypten.cfg.config.functions.log_iters = 3


def test_shares_do_not_show_in_repr() -> None:
    """CrypTen prints shares; our patched repr does not."""
    text = repr(shared(torch.tensor([123456789])))
    assert "hidden" in text
    assert "123456789" not in text


def test_sessions_of_many_threads_do_not_mix() -> None:
    """Four sessions at once in eight threads each give the right product."""
    from concurrent.futures import ThreadPoolExecutor

    from mpcvit.ops import Square, TensorType
    from mpcvit.ring.qtype import QType
    from tests.secure import one_op, run_secure

    program = one_op(Square(), TensorType((50,), QType(frac=8, lo=-100, hi=100)))

    def run(number: int) -> bool:
        codes = np.arange(50, dtype=np.int64) * number
        return bool((run_secure(program, {}, {"x0": codes}, dealer_seed=number).output == codes**2).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(1, 13)))


def test_permutations_are_uniform_and_need_both_parties_words() -> None:
    """Every order comes up equally often, also for one fixed party's stream; what follows in the streams agrees."""
    runs = 1200
    fixed = seed(7)
    for fix in (0, 1, None):
        seen: Counter[tuple[int, ...]] = Counter()
        for number in range(runs):
            seeds = [fixed if party == fix else seed(10_000 + 2 * number + party) for party in (0, 1)]
            dealing = NodeDealing((Prg(seeds[0]).stream("s"), Prg(seeds[1]).stream("s")), b"")
            order = dealing.permutation(3)
            seen[tuple(order.tolist())] += 1
            assert dealing.sent == ([], [])
            if number == 0:
                after = dealing.random((4,))
                shares = []
                for party in (0, 1):
                    material = NodeMaterial(party, Prg(seeds[party]).stream("s"), memoryview(b""), b"")
                    material.permutation(3)
                    shares.append(material.random((4,)))
                assert torch.equal(shares[0] + shares[1], after)
        assert len(seen) == 6
        expected = runs / 6
        assert sum((count - expected) ** 2 / expected for count in seen.values()) < 20.5  # p = 0.001
