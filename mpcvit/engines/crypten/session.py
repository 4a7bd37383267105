"""One party's session: its link, its randomness, its provider, and the tag of the step that runs now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from mpcvit.engines.crypten.provider import Provider
from mpcvit.engines.setup_round import BINDING_BYTES, SETUP_TAG
from mpcvit.errors import InputError, PeerLost
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg, Stream
from mpcvit.transport.link import Link
from mpcvit.transport.trace import Trace


class Session:
    """A context manager that makes CrypTen, in this thread, use this party's link, generators and provider.

    Entering it runs the one setup round: each party sends a fresh 32-byte seed to the next, so that neighbours can
    draw sharings of zero together (CrypTen's ``prev`` and ``next`` generators, here AES streams).

    Args:
        link: this party's connections.
        prg: this party's private generator, seeded from the operating system outside tests.
        provider: this party's correlated randomness.
        binding: bytes that all parties must agree on (digest of session, model and lease); compared in the setup
            round, before anything masked is sent.
    """

    def __init__(self, link: Link, prg: Prg, provider: Provider, *, binding: bytes) -> None:
        if len(binding) != BINDING_BYTES:
            raise InputError(
                f"a binding of {len(binding)} bytes", expected=f"{BINDING_BYTES}", remedy="Pass a SHA-256 digest."
            )
        self.link = link
        self.provider = provider
        self.tag = SETUP_TAG
        self._prg = prg
        self._binding = binding
        self.streams: dict[str, Stream] = {}

    @property
    def index(self) -> int:
        """This party's number."""
        return self.link.index

    @property
    def parties(self) -> int:
        """How many parties compute."""
        return self.link.parties

    @property
    def trace(self) -> Trace:
        """What this party sent so far, by tag."""
        return self.link.trace

    def __enter__(self) -> Session:
        # Plans and prices need this module where crypten is not installed.
        from mpcvit.engines.crypten import context

        self._agree()
        context.activate(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from mpcvit.engines.crypten import context

        context.deactivate()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tag everything that is sent inside with ``name``; nested steps join with a slash."""
        outer = self.tag
        self.tag = name if outer == SETUP_TAG else f"{outer}/{name}"
        try:
            yield
        finally:
            self.tag = outer

    def zero(self, shape: Sequence[int]) -> Codes:
        """Return this party's share of zero, int64 of ``shape``: fresh, and from seeds that no dealer knows.

        All parties ask for the same shapes in the same order.
        """
        return self.streams["next"].ring(shape) - self.streams["prev"].ring(shape)

    def _agree(self) -> None:
        """Exchange zero-sharing seeds with the neighbours and compare the binding with everybody."""
        following, previous = (self.index + 1) % self.parties, (self.index - 1) % self.parties
        own = self._prg.derive("zero-sharing")
        outgoing = [self._binding + (own if peer == following else bytes(SEED_BYTES)) for peer in range(self.parties)]
        incoming = self.link.scatter(SETUP_TAG, outgoing, len(self._binding) + SEED_BYTES)
        for peer in self.link.others:
            if bytes(incoming[peer][: len(self._binding)]) != self._binding:
                raise PeerLost(
                    f"another session, model or dealer lease at party {peer}",
                    expected="the same binding at all parties",
                    remedy="Start a new session; if it persists, restart the dealer and all parties.",
                )
        shared = bytes(incoming[previous][len(self._binding) :])
        self.streams = {
            "prev": Prg(shared).stream("zero-sharing"),
            "next": Prg(own).stream("zero-sharing"),
            "local": self._prg.stream("local"),
        }
