"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar, Unpack

from mpcvit.client.base import BaseClient, InferOptions
from mpcvit.client.cancellation import Cancellation
from mpcvit.client.image import Source
from mpcvit.client.result import Inference
from mpcvit.errors import MpcvitError
from mpcvit.wire.manifest import Manifest

Result = TypeVar("Result")


class AsyncClient(BaseClient):
    """The same as :class:`Client` for asyncio: no method blocks the event loop. Use as an async context manager.

    Cancelling a task that waits here, :func:`asyncio.timeout` included, gives its session up at the parties at once.
    Work is done in threads, one per request and party, so a client serves any number of event loops.

    Args:
        parties: one transport per party, party 0 first.
        pins: manifest digests (64 hex digits) by model name, or ``NAME@BUDGET``; others are refused.
        deadline_s: seconds that one inference may take, unless it is told otherwise.
        retries: sessions that one inference may make beyond the first, unless it is told otherwise.
        owners: whose models are accepted; a model that none of them signed is refused.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up what other tasks wait for, and close all connections. Without effect in a forked process."""
        await _in_thread(self._parties.close, Cancellation())

    async def models(self, deadline_s: float = 10.0) -> list[Manifest]:
        """Return the models that all parties serve identically."""
        cancellation = Cancellation()
        return await _in_thread(lambda: self._models(deadline_s, cancellation), cancellation)

    async def infer(self, picture: Source, model: str | None = None, **options: Unpack[InferOptions]) -> Inference:
        """Return the model's answer for ``picture``, as :meth:`Client.infer` does; progress comes in the event loop."""
        cancellation, own = Cancellation(), _reporting_here(options)
        return await _in_thread(lambda: self._infer(picture, model, cancellation, **own), cancellation)

    async def infer_each(
        self,
        pictures: Iterable[Source],
        model: str | None = None,
        *,
        concurrency: int = 4,
        **options: Unpack[InferOptions],
    ) -> AsyncGenerator[Inference | MpcvitError, None]:
        """Yield the answer or the error for each of ``pictures`` in their order, as :meth:`Client.infer_each` does.

        Leaving the loop early gives up what runs once the iterator is closed, for which there is
        :func:`contextlib.aclosing`.
        """
        cancellation = Cancellation()
        answers = self._infer_each(pictures, model, cancellation, concurrency, _reporting_here(options))
        try:
            while (answer := await _in_thread(lambda: next(answers, None), cancellation)) is not None:
                yield answer
        finally:
            cancellation.set()

    async def infer_many(
        self,
        pictures: Iterable[Source],
        model: str | None = None,
        *,
        concurrency: int = 4,
        **options: Unpack[InferOptions],
    ) -> list[Inference | MpcvitError]:
        """Return the answers for all ``pictures``, in their order, with an error for each that has none."""
        async with aclosing(self.infer_each(pictures, model, concurrency=concurrency, **options)) as answers:
            return [answer async for answer in answers]


async def _in_thread(call: Callable[[], Result], cancellation: Cancellation) -> Result:
    """Return ``call()`` from a thread of its own; a common pool would make requests wait for each other."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="mpcvit-client")
    future = pool.submit(call)
    pool.shutdown(wait=False)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        cancellation.set()
        raise


def _reporting_here(options: InferOptions) -> InferOptions:
    """Return ``options`` with progress reported in the event loop that runs now."""
    if "progress" not in options:
        return options
    loop, progress = asyncio.get_running_loop(), options["progress"]

    def report(phase: str, done: int, total: int) -> None:
        loop.call_soon_threadsafe(progress, phase, done, total)

    return {**options, "progress": report}
