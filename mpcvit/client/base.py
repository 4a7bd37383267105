"""What :class:`Client` and :class:`AsyncClient` have in common: all but how a caller waits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypedDict

from mpcvit.client.backoff import Backoff
from mpcvit.client.cancellation import Cancellation
from mpcvit.client.choice import choose
from mpcvit.client.image import Source, encode_pixels, read_model_input
from mpcvit.client.parties import Parties
from mpcvit.client.result import Inference
from mpcvit.client.session import run_session
from mpcvit.client.settings import ClientSettings
from mpcvit.client.transport import Offer, OnProgress, PartyTransport, grpc_parties
from mpcvit.errors import MpcvitError
from mpcvit.picture import Fit
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import ANYBODY, Owners

#: Pictures of a batch that are read, waiting or answered ahead of the caller, per session at a time.
_AHEAD = 2


class InferOptions(TypedDict, total=False):
    """What an inference may be told besides picture and model.

    Attributes:
        budget: which of the model's Programs answers, by the name in its manifest; None for the whole model's.
        fit: ``model`` makes a picture of another size, with other colours or of another depth the model's, and takes
            frames or slices at even distances where there are more; None, the default, refuses it.
        normalised: the picture holds floats, of the shape that the manifest says, that are normalised as it says.
        deadline_s: seconds for the whole request, retries included; the client's default if None.
        retries: sessions beyond the first, each of them new, after errors that say that one may help; the client's
            default if None.
        progress: called with (phase, steps done, steps in all) as party 0 reports them.
    """

    budget: str | None
    fit: Fit | str | None
    normalised: bool
    deadline_s: float | None
    retries: int | None
    progress: OnProgress


class BaseClient:
    """A client of the parties' secret-shared models; see :class:`Client` and :class:`AsyncClient`.

    Args:
        parties: one transport per party, party 0 first.
        pins: manifest digests (64 hex digits) by model name, or ``NAME@BUDGET`` for other budgets than the whole model;
            a model with another digest is refused.
        deadline_s: seconds that one inference may take, unless it is told otherwise.
        retries: sessions that one inference may make beyond the first, unless it is told otherwise.
        owners: whose models are accepted; a model that none of them signed is refused.
    """

    def __init__(
        self,
        parties: Sequence[PartyTransport],
        pins: Mapping[str, str] | None = None,
        *,
        deadline_s: float = 120.0,
        retries: int = 0,
        owners: Owners = ANYBODY,
    ) -> None:
        self._parties = Parties(parties)
        self._owners = owners
        self._pins = {name: digest.lower() for name, digest in (pins or {}).items()}
        self._deadline_s, self._retries = deadline_s, retries

    @classmethod
    def from_config(cls, path: str | Path) -> Self:
        """Return a client of the parties in a ``client.yaml``.

        Raises:
            ConfigError: the file is wrong, or a file that it names cannot be used.
            NotAuthenticated: the own certificate is not a client's, not valid now, or from another authority.
        """
        settings = ClientSettings.read(Path(path))
        return cls(
            grpc_parties(settings),
            settings.pins,
            deadline_s=settings.deadline_s,
            retries=settings.retries,
            owners=Owners.read(settings.owners),
        )

    def _models(self, deadline_s: float, cancellation: Cancellation) -> list[Manifest]:
        offers = self._offers(time.monotonic() + deadline_s, cancellation)
        first, *others = [[offer.manifest for offer in served] for served in offers]
        return [manifest for manifest in first if all(manifest in other for other in others)]

    def _infer(
        self,
        picture: Source,
        model: str | None,
        cancellation: Cancellation,
        *,
        budget: str | None = None,
        fit: Fit | str | None = None,
        normalised: bool = False,
        deadline_s: float | None = None,
        retries: int | None = None,
        progress: OnProgress = lambda phase, done, total: None,
    ) -> Inference:
        deadline = time.monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        backoff = Backoff(self._retries if retries is None else retries, deadline)
        wanted, read = Fit.parse(fit), None
        while True:
            try:
                manifest = choose(self._offers(deadline, cancellation), model, self._pins, self._owners, budget)
                if read is None:  # a file object can be read but once
                    read = read_model_input(picture, manifest, fit=wanted, normalised=normalised)
                codes = encode_pixels(read.pixels)
                joined = run_session(self._parties, manifest, codes, deadline, cancellation, progress)
                return Inference.of(manifest, joined.codes, joined.session_id, joined.stats, read.notices)
            except MpcvitError as error:
                pause = None if cancellation.wanted else backoff.pause_s(error)
                if pause is None:
                    raise
            cancellation.sleep(pause)

    def _infer_each(
        self,
        pictures: Iterable[Source],
        model: str | None,
        cancellation: Cancellation,
        concurrency: int,
        options: InferOptions,
    ) -> Generator[Inference | MpcvitError]:
        self._parties.require_usable()

        def answer(picture: Source) -> Inference | MpcvitError:
            try:
                return self._infer(picture, model, cancellation, **options)
            except MpcvitError as error:
                return error

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="mpcvit-client")
        ahead: deque[Future[Inference | MpcvitError]] = deque()
        try:
            for picture in pictures:
                ahead.append(pool.submit(answer, picture))
                if len(ahead) == _AHEAD * concurrency:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # also when the caller wants no more
            cancellation.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _offers(self, deadline: float, cancellation: Cancellation) -> list[list[Offer]]:
        return self._parties.ask(lambda party, _: party.offers(deadline), deadline, cancellation)
