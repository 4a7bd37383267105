"""The session in which CrypTen computes, and its context."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten import context as crypten_context
from mpcvit.engines.crypten.material import MemoryMaterial
from mpcvit.engines.crypten.provider import Provider
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import shared
from mpcvit.errors import (
    InternalError,
    PeerLost,
)
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.transport.link import Link
from mpcvit.transport.memory_link import MemoryLink
from mpcvit.transport.threads import run_parties
from tests.support.secure import BINDING, seed


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


def test_every_sharing_of_zero_is_fresh() -> None:
    """What re-randomises a result adds up to zero, and no party's share of it comes twice."""

    def party(link: MemoryLink) -> tuple[Codes, Codes]:
        with _session(link) as session:
            return session.zero((3, 5)), session.zero((3, 5))

    for parties in (2, 3):
        both = run_parties(parties, party)
        for shares in zip(*both, strict=True):
            assert not sum(shares).any()
            assert all(share.any() for share in shares)
        assert all((first != second).all() for first, second in both)


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
    from tests.support.secure import one_op, run_secure

    program = one_op(Square(), TensorType((50,), QType(frac=8, lo=-100, hi=100)))

    def run(number: int) -> bool:
        codes = np.arange(50, dtype=np.int64) * number
        return bool((run_secure(program, {}, {"x0": codes}, number=number).output == codes**2).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(1, 13)))
