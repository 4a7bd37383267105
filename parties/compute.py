"""A compute party: admits sessions, pairs them with its peers, leases material, runs the Program."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import torch

from mpcvit.errors import (
    ModelMismatch,
    MpcvitError,
    Overloaded,
    PeerAborted,
    PeerError,
    ProgramMismatch,
    SessionCancelled,
    SessionError,
    SessionExpired,
    ShapeMismatch,
    VersionSkew,
)
from mpcvit.program.shares import ModelShare, load_share
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire import PROTOCOL_VERSION, SESSION_ID_BYTES, SESSION_METADATA
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import secure_channel
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc, session_pb2
from parties.dealer_client import DealerClient
from parties.engine import Engine
from parties.failure import unexpected
from parties.fast_engine import FastEngine
from parties.grpc_link import GrpcLink
from parties.ledger import Ledger
from parties.peer_stream import PeerStream
from parties.session_table import Failed, Finished, HeldSession, Progress, SessionTable
from parties.settings import EngineName, PartySettings
from parties.stock_engine import StockEngine

log = logging.getLogger("mpcvit.party")


class ComputeParty:
    """Everything one party process holds. Sessions run in threads of a bounded pool.

    Raises:
        ModelFileError, ProgramMismatch, ShapeMismatch: a model folder is wrong.
        ModelMismatch: a model is shared among another number of parties, or two have one name.
        ConfigError: the ledger or a TLS file cannot be used.
    """

    def __init__(self, settings: PartySettings) -> None:
        self.settings = settings
        self.sessions = SessionTable()
        self.models = _load_models(settings)
        torch.set_num_threads(settings.threads)
        self._ledger = Ledger(settings.state)
        files = settings.tls.files
        self._dealer = DealerClient(settings.dealer, files)
        self._channels = {
            peer: secure_channel(address, files, f"party{peer}") for peer, address in settings.peers.items()
        }
        self._peers = {peer: peer_pb2_grpc.PeerServiceStub(channel) for peer, channel in self._channels.items()}
        self.engine: Engine = (
            FastEngine(settings, self.models, self._dealer, self._peers[1 - settings.index], self._ledger)
            if settings.engine_name is EngineName.FAST
            else StockEngine(settings, self.models, self._dealer)
        )
        self._pool = ThreadPoolExecutor(settings.limits.sessions, thread_name_prefix="session")

    @property
    def index(self) -> int:
        """This party's number."""
        return self.settings.index

    def check(self, spec: session_pb2.SessionSpec) -> ModelShare:
        """The model that ``spec`` asks for.

        Raises:
            VersionSkew, ModelMismatch, ProgramMismatch, ShapeMismatch, SessionExpired, SessionError: it cannot be run.
        """
        if spec.protocol_version != PROTOCOL_VERSION:
            raise VersionSkew(
                f"protocol version {spec.protocol_version}",
                expected=str(PROTOCOL_VERSION),
                remedy="Run the same version of mpcvit at client and parties.",
            )
        if len(spec.session_id) != SESSION_ID_BYTES:
            raise SessionError(
                f"a session id of {len(spec.session_id)} bytes",
                expected=f"{SESSION_ID_BYTES} random bytes",
                remedy="Use the SDK.",
            )
        model = self.models.get(spec.model_name)
        manifest = model.manifest if model else None
        if model is None or manifest is None or manifest.version != spec.model_version:
            raise ModelMismatch(
                f"model '{spec.model_name}' version '{spec.model_version}'",
                expected=f"one of {sorted((m.manifest.name, m.manifest.version) for m in self.models.values())}",
                remedy="Ask for a model that this party serves.",
            )
        if spec.program_sha256 != bytes.fromhex(manifest.program_sha256):
            raise ProgramMismatch(
                f"program {spec.program_sha256.hex()[:16]}..",
                expected=f"{manifest.program_sha256[:16]}..",
                remedy="Refresh the client's manifests, or load the same model at all parties.",
            )
        if spec.manifest_sha256 != manifest.digest:
            raise ModelMismatch(
                f"manifest {spec.manifest_sha256.hex()[:16]}..",
                expected=f"{manifest.digest.hex()[:16]}..",
                remedy="Load shares of one 'mpcvit model share' run at all parties.",
            )
        if tuple(spec.input_shape) != manifest.input_shape:
            raise ShapeMismatch(
                f"input shape {tuple(spec.input_shape)}",
                expected=str(manifest.input_shape),
                remedy="Resize the picture.",
            )
        if spec.expires_at < time.time():
            raise SessionExpired(
                "a session past its expiry", expected="one that is still wanted", remedy="Check the clocks."
            )
        return model

    def submit(self, spec: session_pb2.SessionSpec, model: ModelShare, owner: str, share: Codes) -> None:
        """Burn the session id and start the session.

        Raises:
            Overloaded: as many sessions run and wait as are allowed.
            SessionReplayed: the id was used before.
        """
        limits = self.settings.limits
        unfinished = self.sessions.unfinished()
        if unfinished >= limits.sessions + limits.queue:
            raise Overloaded(
                f"{unfinished} sessions",
                expected=f"at most {limits.sessions} running and {limits.queue} waiting",
                remedy="Retry later.",
            )
        self._ledger.burn(spec.session_id.hex())
        streams = {
            peer: PeerStream(
                peer,
                stall_s=self.settings.timeouts.stall_s,
                largest_frame=self.engine.largest_frame(model.manifest.name),
            )
            for peer in self.settings.peers
        }
        session = HeldSession(spec, owner, model, share, streams)
        self.sessions.add(session)
        self._pool.submit(self._run, session)

    def abort(self, session_id: bytes, peer: int, reason: str) -> None:
        """A peer gave the session up for ``reason``."""
        for session in self.sessions.all():
            if session.session_id == session_id and peer in session.streams:
                session.streams[peer].fail(
                    PeerAborted(
                        f"party {peer} gave up: {reason}",
                        expected="a session that all parties finish",
                        remedy="See the other party's error.",
                        origin=f"party{peer}",
                    )
                )

    def drain(self) -> None:
        """Wait for running sessions, at most ``drain_s``; then cancel them, and close everything."""
        end = time.monotonic() + self.settings.timeouts.drain_s
        while time.monotonic() < end and any(not session.fetched for session in self.sessions.all()):
            time.sleep(0.05)
        for session in self.sessions.all():
            self.sessions.cancel(session)
        self.engine.close()
        self._pool.shutdown(cancel_futures=True)
        self._dealer.close()
        for channel in self._channels.values():
            channel.close()
        self._ledger.close()

    def _run(self, session: HeldSession) -> None:
        """Thread of one session: every way out ends in an event, a closed ledger entry and closed streams."""
        name = session.session_id.hex()
        event = self._attempt(session)
        self.engine.release(session)
        session.share = np.empty(0, dtype=np.int64)  # not needed any more
        if isinstance(event, Failed):
            log.warning("session %s failed: %s", name, event.error.reason)
            self._tell_peers(session, event.error)
        for stream in session.streams.values():
            stream.finish()
        self._ledger.close_session(name, event.error.reason if isinstance(event, Failed) else "done")
        self.sessions.expire(session, self.settings.timeouts.session_s)
        session.events.put(event)

    def _attempt(self, session: HeldSession) -> Finished | Failed:
        origin = f"party{self.index}"
        try:
            return self._compute(session)
        except MpcvitError as error:
            error.origin = error.origin or origin
            return Failed(error)
        except Exception as error:
            return Failed(unexpected(error, origin))

    def _compute(self, session: HeldSession) -> Finished:
        timeouts = self.settings.timeouts
        deadline = time.monotonic() + timeouts.session_s
        session.events.put(Progress("pairing", 0, 1))
        self._pair(session, deadline)
        session.events.put(Progress("offline", 0, 1))
        link = GrpcLink(self.index, self.settings.parties, session.streams, timeouts.offline_s)
        online = self.engine.offline(session, link)
        return online(self._report(session, deadline))

    def _report(self, session: HeldSession, deadline: float) -> Callable[[int, int], None]:
        """Reports progress to the client, and stops the session when it is cancelled or late."""
        step = 0.0

        def report(done: int, total: int) -> None:
            nonlocal step
            _check_wanted(session, deadline)
            if done == total or time.monotonic() - step > 0.1:
                step = time.monotonic()
                session.events.put(Progress("online", done, total))

        return report

    def _pair(self, session: HeldSession, deadline: float) -> None:
        """Agree with every peer on the session and connect the streams: the lower number calls the higher."""
        allowed = min(self.settings.timeouts.pair_s, deadline - time.monotonic())
        for peer in (peer for peer in session.streams if peer > self.index):
            try:
                request = peer_pb2.OpenSessionRequest(spec=session.spec, engine=self.engine.name)
                # wait_for_ready: a channel that found nobody when all started may still pause before it tries again
                self._peers[peer].OpenSession(request, timeout=allowed + 1, wait_for_ready=True)
            except grpc.RpcError as error:
                known = from_rpc_error(error, f"party{peer}")
                if isinstance(known, PeerError):
                    known = probe(self.settings.peers[peer], self.settings.tls.files, f"party{peer}") or known
                raise known from error
            stream = self.sessions.attach(session, peer)
            call = self._peers[peer].Exchange(
                stream.outgoing(peer_pb2.ExchangeRequest),
                metadata=((SESSION_METADATA, session.session_id),),
            )
            threading.Thread(target=stream.consume, args=(call,), name=f"peer{peer}", daemon=True).start()
        self.sessions.wait_attached(session, allowed)
        _check_wanted(session, deadline)

    def _tell_peers(self, session: HeldSession, error: MpcvitError) -> None:
        """Best effort: peers learn at once that this party gave up, and why."""
        request = peer_pb2.AbortSessionRequest(session_id=session.session_id, reason=error.reason)
        for peer in session.streams:
            try:
                self._peers[peer].AbortSession(request, timeout=1)
            except grpc.RpcError:
                log.info("party %d did not hear of the end of session %s", peer, session.session_id.hex())


def _load_models(settings: PartySettings) -> dict[str, ModelShare]:
    models: dict[str, ModelShare] = {}
    for folder in settings.models:
        model = load_share(folder, settings.index)
        name = model.manifest.name
        if model.manifest.parties != settings.parties or name in models:
            raise ModelMismatch(
                f"model '{name}' in {folder}, shared among {model.manifest.parties} parties",
                expected=f"models of different names, shared among {settings.parties}",
                remedy="Share the model again, or correct 'models' and 'parties' in the configuration.",
            )
        models[name] = model
    return models


def _check_wanted(session: HeldSession, deadline: float) -> None:
    if session.cancelled.is_set():
        raise SessionCancelled(
            "a cancelled session", expected="one that is still wanted", remedy="Submit a new session."
        )
    if time.monotonic() > deadline:
        raise SessionExpired(
            "a session past its time",
            expected="a result within 'timeouts.session_s'",
            remedy="Raise the timeout, or use a smaller model.",
        )
