"""The parties as one: each is asked at the same time, and the answers or one error come back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mpcvit.client.cancellation import Cancellation
from mpcvit.client.transport import PartyTransport
from mpcvit.errors import MpcvitError, PeerError, PeerTimeout, SessionCancelled, SessionError

Result = TypeVar("Result")
#: Seconds past a deadline in which a transport's own deadline ends its call.
_GRACE_S = 1.0
#: Seconds in which the other parties may tell the cause of what was but an echo of it.
_CAUSE_S = 0.5
#: Seconds for requests that run to end, and to tell the parties so, when a client is closed.
_CLOSE_S = 2.0


class Parties:
    """All parties of a deployment. Threads may share them; processes may not.

    Args:
        transports: one per party, party 0 first.
    """

    def __init__(self, transports: Sequence[PartyTransport]) -> None:
        self._transports = list(transports)
        self._process = os.getpid()
        self._closed = False
        self._changed = threading.Condition()
        self._running: list[Cancellation] = []

    def __len__(self) -> int:
        return len(self._transports)

    def close(self) -> None:
        """End the requests that run, then close all connections. Without effect in a forked process."""
        self._closed = True
        if os.getpid() != self._process:
            return
        with self._changed:
            for cancellation in self._running:
                cancellation.set()
            self._changed.wait_for(lambda: not self._running, _CLOSE_S)
        for party in self._transports:
            party.close()

    def cancel(self, session_id: bytes) -> None:
        """Give a session up at every party; returns at once."""
        for party in self._transports:
            party.cancel(session_id)

    def require_usable(self) -> None:
        """Raise SessionError in a process to which this was copied by a fork, and after :meth:`close`."""
        if os.getpid() != self._process:
            raise SessionError(
                f"a client of process {self._process} in process {os.getpid()}, which was forked from it",
                expected="a client that is made in the process that uses it",
                remedy="Make a client in each process, after it has started.",
            )
        if self._closed:
            raise SessionError("a closed client", expected="an open one", remedy="Make a new client.")

    def ask(
        self,
        call: Callable[[PartyTransport, int], Result],
        deadline: float,
        cancellation: Cancellation,
        give_up: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        """Return ``call`` for every party, all at the same time.

        Every request has threads of its own: a session waits for its share at one party while it is submitted to
        another, so sessions that took turns in a common pool would wait for each other.

        Args:
            call: takes a transport and its party's number.
            deadline: monotonic time.
            give_up: called unless every party has answered; calls that still run then end by themselves.

        Raises:
            SessionCancelled: the caller gave up.
            PeerTimeout: a party overlooked the deadline.
            MpcvitError: of the errors that calls ended with, the one that tells most.
        """
        with self._counted(cancellation):
            if cancellation.wanted:
                raise _given_up()
            pool = ThreadPoolExecutor(len(self), thread_name_prefix="mpcvit-client")
            futures = [pool.submit(call, party, index) for index, party in enumerate(self._transports)]
            pool.shutdown(wait=False)
            for future in futures:
                future.add_done_callback(lambda _: cancellation.notify())
            try:
                cancellation.wait_for(lambda: _settled(futures), max(deadline - time.monotonic(), 0.0) + _GRACE_S)
                errors = _errors(futures)
                if errors and all(_echo(error) for error in errors):
                    cancellation.wait_for(lambda: all(future.done() for future in futures), _CAUSE_S)
                self._raise_failure(futures, cancellation)
                return [future.result() for future in futures]
            finally:
                if not all(future.done() and future.exception() is None for future in futures):
                    give_up()

    def _raise_failure(self, futures: Sequence[Future[Result]], cancellation: Cancellation) -> None:
        """Raise unless all futures have a result."""
        pending = [f"party{index}" for index, future in enumerate(futures) if not future.done()]
        errors = _errors(futures)
        if not pending and not errors:
            return
        self.require_usable()  # whatever a call fails of after close(), that is why
        if cancellation.wanted:
            raise _given_up()
        if errors:
            raise _root_cause(errors)
        raise PeerTimeout(
            f"no answer from {', '.join(pending)} before the deadline",
            expected="an answer",
            remedy="Check that the party is not overloaded, or allow more time.",
            origin=pending[0],
        )

    @contextmanager
    def _counted(self, cancellation: Cancellation) -> Iterator[None]:
        """Let :meth:`close` know of a request while it runs."""
        self.require_usable()
        with self._changed:
            self._running.append(cancellation)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(cancellation)
                self._changed.notify_all()


def _given_up() -> SessionCancelled:
    return SessionCancelled(
        "a caller that gave up", expected="one that waits", remedy="Ask again: that makes a new session."
    )


def _errors(futures: Sequence[Future[Result]]) -> list[BaseException]:
    return [error for future in futures if future.done() and (error := future.exception()) is not None]


def _settled(futures: Sequence[Future[Result]]) -> bool:
    """Return whether all calls have ended, or one has failed."""
    return all(future.done() for future in futures) or bool(_errors(futures))


def _echo(error: BaseException) -> int:
    """Return how likely it is that another party's error is the cause of this one: 0, 1 or 2."""
    if isinstance(error, SessionCancelled):
        return 2
    return 1 if isinstance(error, PeerError) else 0


def _root_cause(errors: Sequence[BaseException]) -> BaseException:
    """Return the error that is not merely the echo of another party's."""
    bugs = [error for error in errors if not isinstance(error, MpcvitError)]
    return bugs[0] if bugs else min(errors, key=_echo)
