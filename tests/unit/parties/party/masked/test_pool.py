"""When material is made, and what those hear who wait for it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from mpcvit.errors import DealerLost, MaterialExhausted, MpcvitError, ProgramMismatch, SessionCancelled
from parties.party.masked.pool import MaterialPool
from parties.party.masked.role import NOT_YET


class Maker:
    """Makes numbers, each as soon as a test allows it; or fails as it says."""

    def __init__(self) -> None:
        self.allowed: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.error: MpcvitError | None = None
        self.missing: MpcvitError | None = None
        self.made = 0
        self.begun = threading.Semaphore(0)

    def __call__(self) -> int:
        if self.error is not None:
            raise self.error
        self.begun.release()
        self.allowed.get(timeout=20)
        self.made += 1
        return self.made

    def allow(self, count: int = 1) -> None:
        """Let so many be made."""
        for _ in range(count):
            self.allowed.put(None)

    @contextmanager
    def pool(self, size: int = 1, patience_s: float = 0.0) -> Iterator[MaterialPool[int]]:
        """A pool of what is made here."""
        pool = MaterialPool(self, size=size, ahead=2, patience_s=patience_s, missing=lambda: self.missing)
        try:
            yield pool
        finally:
            pool.close()
            self.allow(5)


def _filled(pool: MaterialPool[int], count: int) -> bool:
    deadline = time.monotonic() + 10
    while len(pool.entries()) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    return len(pool.entries()) == count


def _wanted() -> None:
    """Go on."""


def _lost() -> DealerLost:
    return DealerLost("no dealer", expected="one", remedy="Start dealer.")


def test_an_idle_pool_is_filled_and_a_running_session_is_left_alone() -> None:
    """An entry that is taken is replaced when its session ends."""
    maker, held = Maker(), []
    with maker.pool() as pool:
        maker.allow(2)
        assert _filled(pool, 1)
        assert pool.take(held.append, 5, _wanted) == 1
        assert held == [1]
        assert _filled(pool, 0)
        pool.finish()
        assert _filled(pool, 1)


def test_material_is_made_ahead_for_sessions_that_wait() -> None:
    """Also while another runs, for as many as may run at once."""
    maker = Maker()
    with maker.pool() as pool:
        maker.allow(10)
        assert _filled(pool, 1)
        pool.take(lambda entry: None, 5, _wanted)
        pool.expect(1)
        assert _filled(pool, 1)
        pool.expect(7)
        assert _filled(pool, 2)


def test_who_waits_longest_is_served_first() -> None:
    """Also by material that is there when somebody else comes, and after one who waited before gave up."""
    maker, order = Maker(), []
    leaves = threading.Event()

    def take(number: int) -> None:
        def wanted() -> None:
            if number == 0 and leaves.is_set():
                raise SessionCancelled("a cancelled session", expected="a wanted one", remedy="Retry.")

        with suppress(SessionCancelled):
            pool.take(lambda entry: order.append((number, entry)), 20, wanted)

    with maker.pool() as pool:
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            time.sleep(0.05)  # they come one after the other
        leaves.set()
        threads[0].join(10)
        maker.allow(4)
        for thread in threads:
            thread.join(10)
    assert order == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_nothing_prepared_and_nobody_to_make_it() -> None:
    """MATERIAL_EXHAUSTED at once, with the reason; what is prepared still serves."""
    maker = Maker()
    with maker.pool() as pool:
        maker.allow()
        assert _filled(pool, 1)
        maker.missing = _lost()
        assert pool.take(lambda entry: None, 5, _wanted) == 1
        start = time.monotonic()
        with pytest.raises(MaterialExhausted, match=r"no prepared material, and no dealer.* Start dealer"):
            pool.take(lambda entry: None, 30, _wanted)
        assert time.monotonic() - start < 10


def test_a_loss_while_somebody_waits() -> None:
    """Whoever waits hears what was lost, although the attempt has not ended."""
    maker = Maker()
    with maker.pool() as pool:
        assert maker.begun.acquire(timeout=5)
        threading.Timer(0.1, setattr, (maker, "missing", _lost())).start()
        with pytest.raises(DealerLost, match="no dealer"):
            pool.take(lambda entry: None, 30, _wanted)


def test_too_late_says_when_to_come_back() -> None:
    """The estimate is how long the last one took."""
    maker = Maker()
    with maker.pool() as pool:
        threading.Timer(0.2, maker.allow).start()
        assert _filled(pool, 1)
        pool.take(lambda entry: None, 5, _wanted)
        with pytest.raises(MaterialExhausted, match=r"no material within 0\.1 s") as caught:
            pool.take(lambda entry: None, 0.1, _wanted)
        assert 0.1 < caught.value.retry_after_s < 5


def test_a_session_that_is_given_up_waits_no_more() -> None:
    """Its place is free, and the entry goes to another."""
    maker, cancelled = Maker(), threading.Event()

    def wanted() -> None:
        if cancelled.is_set():
            raise SessionCancelled("a cancelled session", expected="one that is wanted", remedy="Retry.")

    with maker.pool() as pool:
        threading.Timer(0.1, cancelled.set).start()
        with pytest.raises(SessionCancelled):
            pool.take(lambda entry: None, 30, wanted)
        maker.allow()
        assert pool.take(lambda entry: None, 10, _wanted) == 1


def test_patience_is_for_roles_that_start_later() -> None:
    """An error that waiting does not mend is told at once, a missing dealer only after the patience."""
    maker = Maker()
    maker.error = ProgramMismatch("another", expected="the same", remedy="Load it.")
    with maker.pool(patience_s=60) as pool, pytest.raises(ProgramMismatch):
        pool.take(lambda entry: None, 30, _wanted)
    late = Maker()
    late.error = _lost()
    with late.pool(patience_s=60) as pool:
        threading.Timer(0.3, setattr, (late, "error", None)).start()
        late.allow()
        assert pool.take(lambda entry: None, 30, _wanted) == 1
    gone = Maker()
    gone.error = _lost()
    with gone.pool(patience_s=0.3) as pool, pytest.raises(DealerLost):
        pool.take(lambda entry: None, 30, _wanted)


def test_what_is_lacking_is_said_until_something_is_there() -> None:
    """Before the first attempt, while the last one failed, and not while what was made is in use."""
    maker = Maker()
    with maker.pool() as pool:
        assert pool.lacking == NOT_YET
        maker.allow()
        assert _filled(pool, 1)
        assert pool.lacking is None
        pool.take(lambda _: None, 5, _wanted)
        assert (pool.entries(), pool.lacking) == ([], None)
        maker.error = _lost()
        pool.finish()
        deadline = time.monotonic() + 10
        while pool.lacking != "DEALER_LOST":
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_what_is_forgotten_is_made_anew() -> None:
    maker = Maker()
    with maker.pool() as pool:
        maker.allow(2)
        assert _filled(pool, 1)
        pool.clear()
        assert _filled(pool, 1)
        assert pool.entries() == [2]
