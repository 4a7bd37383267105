"""The client: what a picture's owner runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mpcvit.client.image import Picture, encode_picture
from mpcvit.client.result import Inference, Stats
from mpcvit.client.settings import ClientSettings
from mpcvit.client.transport import GrpcParty, OnProgress, PartyTransport, Submission
from mpcvit.errors import ModelMismatch, MpcvitError, PeerError, ProtocolViolation, SessionCancelled
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import SEED_BYTES, Prg
from mpcvit.ring.sharing import join, split
from mpcvit.wire import PROTOCOL_VERSION, SESSION_ID_BYTES
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.v1 import session_pb2

Result = TypeVar("Result")


class Client:
    """Classifies private pictures with the parties' secret-shared model.

    A picture is encoded and split here; all parties but the last get a fresh 32-byte seed, the last gets the masked
    codes; their answers are joined here. No party learns the picture or the answer. Use as a context manager.

    Args:
        parties: one transport per party, party 0 first.
        pins: manifest digests (64 hex digits) by model name; a model with another digest is refused.
        deadline_s: seconds that one inference may take, unless :meth:`infer` is told otherwise.
    """

    def __init__(
        self, parties: Sequence[PartyTransport], pins: Mapping[str, str] | None = None, *, deadline_s: float = 120.0
    ) -> None:
        self._parties = list(parties)
        self._pins = dict(pins or {})
        self._deadline_s = deadline_s
        self._pool = ThreadPoolExecutor(len(self._parties), thread_name_prefix="mpcvit-client")

    @classmethod
    def from_config(cls, path: str | Path) -> Self:
        """A client of the parties in a ``client.yaml``."""
        settings = ClientSettings.read(Path(path))
        return cls(
            [GrpcParty(address, settings.tls.files, f"party{index}") for index, address in enumerate(settings.parties)],
            settings.pins,
            deadline_s=settings.deadline_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for party in self._parties:
            party.close()
        self._pool.shutdown()

    def models(self, deadline_s: float = 10.0) -> list[Manifest]:
        """The models that all parties serve alike."""
        deadline = time.monotonic() + deadline_s
        first, *others = self._all(lambda party, _: party.manifests(deadline))
        return [manifest for manifest in first if all(manifest in other for other in others)]

    def infer(
        self,
        picture: Picture,
        model: str | None = None,
        *,
        deadline_s: float | None = None,
        progress: OnProgress = lambda phase, done, total: None,
    ) -> Inference:
        """The model's answer for ``picture``.

        Args:
            picture: a file, a PIL image, uint8 RGB [height, width, 3], or normalised floats [3, height, width].
            model: its name; may be left out if the parties serve just one.
            deadline_s: seconds for the whole call; the client's default if None.
            progress: called with (phase, steps done, steps in all) as party 0 reports them.

        Raises:
            InputError, ShapeMismatch: the picture does not fit; nothing was sent.
            ModelMismatch: the parties do not serve this model alike, or it is not the pinned one.
            ProtocolViolation: what the parties sent is no answer of this model.
            MpcvitError: a party failed; the message names it. A retry makes a new session.
        """
        allowed = self._deadline_s if deadline_s is None else deadline_s
        deadline = time.monotonic() + allowed
        manifest = self._choose(model, deadline)
        codes = encode_picture(picture, manifest)
        session_id = secrets.token_bytes(SESSION_ID_BYTES)
        spec = session_pb2.SessionSpec(
            session_id=session_id,
            model_name=manifest.name,
            model_version=manifest.version,
            manifest_sha256=manifest.digest,
            program_sha256=bytes.fromhex(manifest.program_sha256),
            input_shape=manifest.input_shape,
            protocol_version=PROTOCOL_VERSION,
            expires_at=int(time.time() + allowed) + 1,
        )
        seeds = [secrets.token_bytes(SEED_BYTES) for _ in self._parties[1:]]
        last = split(codes, [Prg(seed) for seed in seeds], session_id)
        shares: list[bytes | Codes] = [*seeds, last]

        def run(party: PartyTransport, index: int) -> tuple[Codes, Stats]:
            party.submit(Submission(spec, shares[index]), deadline)
            report = progress if index == 0 else _silent
            share, stats = party.fetch(session_id, deadline, report)
            if share.shape != (manifest.outputs,):
                raise ProtocolViolation(
                    f"a result share of shape {share.shape} from party {index}",
                    expected=f"one code for each of {manifest.outputs} labels",
                    remedy="Run the same version of mpcvit at all parties.",
                )
            return share, stats

        answers = self._all(run, lambda: self._cancel(session_id))
        codes = join([share for share, _ in answers])
        return Inference.of(manifest, codes, session_id.hex(), tuple(stats for _, stats in answers))

    def _choose(self, model: str | None, deadline: float) -> Manifest:
        offers = self._all(lambda party, _: party.manifests(deadline))
        names = sorted({manifest.name for offer in offers for manifest in offer})
        if model is None:
            if len(names) != 1:
                raise ModelMismatch(
                    f"{len(names)} models: {', '.join(names)}",
                    expected="the name of one of them",
                    remedy="Pass model=NAME.",
                )
            model = names[0]
        found = [next((manifest for manifest in offer if manifest.name == model), None) for offer in offers]
        first = found[0]
        if first is None or any(other != first for other in found):
            raise ModelMismatch(
                f"'{model}' served differently by the parties (they serve: {', '.join(names) or 'nothing'})",
                expected="one and the same version and share set at every party",
                remedy="Ask the operators to load shares of one 'mpcvit model share' run.",
            )
        if first.parties != len(self._parties):
            raise ModelMismatch(
                f"'{model}', shared among {first.parties} parties",
                expected=f"a model shared among {len(self._parties)}",
                remedy="List all parties in the client's configuration.",
            )
        pin = self._pins.get(model)
        if pin is not None and pin != first.digest.hex():
            raise ModelMismatch(
                f"'{model}' with manifest digest {first.digest.hex()}",
                expected=f"the pinned digest {pin}",
                remedy="Ask the model owner which digest is right, then correct the pin.",
            )
        return first

    def _all(
        self,
        call: Callable[[PartyTransport, int], Result],
        give_up: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        """``call`` for every party at once; after the first failure ``give_up``, then the error that tells most."""
        futures = [self._pool.submit(call, party, index) for index, party in enumerate(self._parties)]
        _, pending = wait(futures, return_when=FIRST_EXCEPTION)
        if pending:
            give_up()
            wait(pending)
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise _root_cause(errors)
        return [future.result() for future in futures]

    def _cancel(self, session_id: bytes) -> None:
        for party in self._parties:
            party.cancel(session_id)


def _silent(phase: str, done: int, total: int) -> None:
    """Progress that nobody listens to."""


def _root_cause(errors: Sequence[BaseException]) -> BaseException:
    """The error that is not merely the echo of another party's."""

    def echo(error: BaseException) -> int:
        if isinstance(error, SessionCancelled):
            return 2
        return 1 if isinstance(error, PeerError) else 0

    if not all(isinstance(error, MpcvitError) for error in errors):
        return next(error for error in errors if not isinstance(error, MpcvitError))
    return min(errors, key=echo)
