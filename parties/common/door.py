"""What every call passes before its service sees it: who calls, how much it calls, and an end to its silence."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from mpcvit.errors import Overloaded, ProtocolViolation
from mpcvit.wire.status import refusal_reason
from parties.common.around_calls import AroundCalls
from parties.common.deadline import deadline
from parties.common.failure import answering
from parties.common.token_buckets import TokenBuckets

Identify = Callable[[grpc.ServicerContext], object]
#: Seconds in which a request, whose headers are here, is not called late.
_GRACE_S = 0.5
#: Refusals that a caller hears at once after a pause, and as many a second in the long run; others come later, but no
#: later than this: who does not listen slows itself down, not us.
_REFUSALS, _REFUSALS_PER_S, _LATEST_S = 50, 10.0, 0.5


class Door(AroundCalls):
    """An interceptor that keeps one caller from taking all threads of a server.

    gRPC waits for the request of a unary call in a thread, for as long as its caller likes, before anybody looks at
    the caller. Behind this door a unary request is read as a stream of one message, so our own code begins at once.
    Calls that wait for their request are counted apart: they keep no other call of the same caller out, and the oldest
    makes room for the next. A caller that is refused all the time hears it a little later each time.

    Args:
        role: who answers, for errors.
        calls: calls that one caller may have at once, and as many that wait for their request.
        silence_s: seconds within which the request of a unary call must come.
        identify: says who calls, or raises.
    """

    def __init__(self, role: str, *, calls: int, silence_s: float, identify: Identify) -> None:
        self._role, self._identify, self._most, self._silence_s = role, identify, calls, silence_s
        self._lock = threading.Lock()
        self._calls: Counter[object] = Counter()
        self._silent: dict[object, dict[grpc.ServicerContext, float]] = defaultdict(dict)
        self._refusals = TokenBuckets(time.monotonic)

    @contextmanager
    def around(
        self, method: str, requests: Iterator[Any], context: grpc.ServicerContext, *, streams: bool
    ) -> Iterator[Any]:
        """Count the call among its caller's, and yield its request: the message, or the stream of them."""
        with answering(context, self._role):
            caller = self._identify(context)
            request = requests if streams else self._heard(caller, requests, context)
            self._enter(caller)
        try:
            yield request
        except Exception:
            if refusal_reason(context) is not None:
                wait_s = self._refusals.wait_s(str(caller), rate=_REFUSALS_PER_S, burst=_REFUSALS)
                self._refusals.owe(str(caller), rate=_REFUSALS_PER_S, burst=_REFUSALS)
                time.sleep(min(wait_s, _LATEST_S))
            raise
        finally:
            with self._lock:
                self._calls[caller] -= 1
                if not self._calls[caller]:
                    del self._calls[caller]

    def _heard(self, caller: object, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Wait for the one request of a unary call.

        Raises:
            Overloaded: too many of the caller's calls wait, none of them for long.
            ProtocolViolation: the caller ended its side without one.
        """
        now = time.monotonic()
        with self._lock:
            silent = self._silent[caller]
            oldest = next(iter(silent.items()), None) if len(silent) >= self._most else None
            if oldest is not None and oldest[1] > now - _GRACE_S:
                raise self._overloaded(len(silent))
            if oldest is not None:
                del silent[oldest[0]]
            silent[context] = now
        try:
            if oldest is not None:
                oldest[0].cancel()
            with deadline(context, self._silence_s):
                request = next(requests, None)
        finally:
            with self._lock:
                silent.pop(context, None)
                if not silent and self._silent.get(caller) is silent:
                    del self._silent[caller]
        if request is None:
            raise ProtocolViolation("a call without a request", expected="one message", remedy="Use the SDK.")
        return request

    def _enter(self, caller: object) -> None:
        with self._lock:
            if self._calls[caller] >= self._most:
                raise self._overloaded(self._calls[caller])
            self._calls[caller] += 1

    def _overloaded(self, calls: int) -> Overloaded:
        return Overloaded(
            f"{calls} calls of one caller at once",
            expected=f"at most {self._most}",
            remedy="Let calls end before others begin; the SDK does.",
        )
