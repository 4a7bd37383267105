"""The client: what a picture's owner runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Self, Unpack

from mpcvit.client.base import BaseClient, InferOptions
from mpcvit.client.cancellation import Cancellation
from mpcvit.client.image import Source
from mpcvit.client.result import Inference
from mpcvit.errors import MpcvitError
from mpcvit.wire.manifest import Manifest


class Client(BaseClient):
    """Classifies private pictures with the parties' secret-shared model.

    A picture is encoded and split here; all parties but the last get a fresh 32-byte seed, the last gets the masked
    codes; their answers are joined here. No party learns the picture or the answer. Use as a context manager.

    Threads may share a client. Processes may not: gRPC's connections do not survive a fork, and a client says so at
    once. :class:`AsyncClient` is the same for asyncio.

    Args:
        parties: one transport per party, party 0 first.
        pins: manifest digests (64 hex digits) by model name, or ``NAME@BUDGET``; others are refused.
        deadline_s: seconds that one inference may take, unless it is told otherwise.
        retries: sessions that one inference may make beyond the first, unless it is told otherwise.
        owners: whose models are accepted; a model that none of them signed is refused.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up what other threads wait for, and close all connections. Without effect in a forked process."""
        self._parties.close()

    def models(self, deadline_s: float = 10.0) -> list[Manifest]:
        """Return the models that all parties serve identically."""
        return self._models(deadline_s, Cancellation())

    def infer(self, picture: Source, model: str | None = None, **options: Unpack[InferOptions]) -> Inference:
        """Return the model's answer for ``picture``.

        An exception that interrupts it, such as KeyboardInterrupt, gives the session up at the parties.

        Args:
            picture: a path, bytes, a binary file object, a PIL image, or uint8 RGB [height, width, 3], of the model's
                size. It is read upright, and on white where it is transparent. For models that read something else,
                what :func:`mpcvit.inputs.read.read_input` takes: a list of pictures or a folder for a bag, say.
            model: its name; may be left out if the parties serve just one.
            options: see :class:`InferOptions`.

        Raises:
            InputError, ShapeMismatch: the picture cannot be read, or does not fit; nothing was sent.
            ModelMismatch: the parties do not serve this model identically, or it is not the pinned one.
            BudgetUnknown: the model has no Program for ``budget``.
            AnswerOutOfRange: some value left the range that the model was exported for: there is no answer.
            InputOutOfRange: of the parties, for a picture that was not encoded here.
            ProtocolViolation: what the parties sent has not the form of an answer of this model.
            MpcvitError: a party failed; the message names it. ``retry_with_new_session`` says whether asking again may
                help; every request makes a new session.
        """
        return self._infer(picture, model, Cancellation(), **options)

    def infer_each(
        self,
        pictures: Iterable[Source],
        model: str | None = None,
        *,
        concurrency: int = 4,
        **options: Unpack[InferOptions],
    ) -> Generator[Inference | MpcvitError]:
        """Yield the answer for each of ``pictures``, in their order, as soon as it is there.

        A picture without an answer yields its error, and the others go on. Leaving the loop early gives up what runs.

        Args:
            pictures: what :meth:`infer` takes; read shortly before it is their turn.
            concurrency: sessions at a time, from 1. Parties refuse what is beyond their limits: ``OVERLOADED``.
            options: of each picture, its deadline included; see :class:`InferOptions`.
        """
        return self._infer_each(pictures, model, Cancellation(), concurrency, options)

    def infer_many(
        self,
        pictures: Iterable[Source],
        model: str | None = None,
        *,
        concurrency: int = 4,
        **options: Unpack[InferOptions],
    ) -> list[Inference | MpcvitError]:
        """Return the answers for all ``pictures``, in their order, with an error for each that has none.

        The same as :meth:`infer_each`, but all at once.
        """
        return list(self.infer_each(pictures, model, concurrency=concurrency, **options))
