"""The dealer: correlated randomness for sessions that it knows nothing else about."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from mpcvit.errors import NotAllowed, ProgramMismatch, SessionReplayed, SessionUnknown
from mpcvit.program.cost import stock_cost
from mpcvit.program.dealer import corrections
from mpcvit.program.files import load_program
from mpcvit.program.program import Program
from mpcvit.ring.prg import SEED_BYTES
from parties.ledger import Ledger
from parties.settings import DealerSettings

log = logging.getLogger("mpcvit.dealer")


@dataclass(repr=False)
class _Leased:
    """One session's lease: its seeds, and which parties have taken theirs."""

    program: Program
    model_version: str
    lease_id: bytes
    seeds: list[bytes]
    opened: float
    taken: set[int] = field(default_factory=set)
    streamed: bool = False


class Dealer:
    """Leases and deals. Every session gets fresh seeds under a root key that lives as long as the process.

    Raises:
        ModelFileError: a program cannot be read.
        ConfigError: the ledger cannot be used.
    """

    def __init__(self, settings: DealerSettings) -> None:
        torch.set_num_threads(settings.threads)
        self._programs = {bytes.fromhex(program.digest): program for program in map(load_program, settings.programs)}
        self._lease_s = settings.lease_s
        self._ledger = Ledger(settings.state)
        self._root = secrets.token_bytes(SEED_BYTES)
        self._lock = threading.Lock()
        self._leases: dict[bytes, _Leased] = {}

    def lease(
        self, session_id: bytes, program_sha256: bytes, model_version: str, party: int, parties: int
    ) -> tuple[bytes, bytes, int]:
        """(lease id, the party's seed, length of its corrections); once per session and party.

        Raises:
            ProgramMismatch: unknown program, or another one than the session's other parties asked for.
            SessionReplayed: this party has its lease, or the session id was used before.
            NotAllowed: the party is not one of the session's.
        """
        program = self._programs.get(program_sha256)
        if program is None:
            raise ProgramMismatch(
                f"program {program_sha256.hex()[:16]}..",
                expected=f"one of {[digest.hex()[:16] for digest in self._programs]}",
                remedy="Add the model's folder to 'programs' in the dealer's configuration.",
            )
        with self._lock:
            self._forget_old()
            leased = self._leases.get(session_id)
            if leased is None:
                self._ledger.burn(session_id.hex())
                leased = self._open(session_id, program, model_version, parties)
            if (leased.program, leased.model_version, len(leased.seeds)) != (program, model_version, parties):
                raise ProgramMismatch(
                    "another program, version or number of parties for the same session",
                    expected="the same at all parties",
                    remedy="Load the same model at all parties.",
                )
            if party >= parties:
                raise NotAllowed(
                    f"party {party} of {parties}", expected="one of the session's parties", remedy="Correct 'parties'."
                )
            if party in leased.taken:
                raise SessionReplayed(
                    f"a second lease of party {party} for one session",
                    expected="one lease per session and party",
                    remedy="Start a new session.",
                )
            leased.taken.add(party)
        material = stock_cost(program, parties).total.material_bytes[party] - SEED_BYTES
        return leased.lease_id, leased.seeds[party], material

    def stream(self, session_id: bytes, party: int) -> Iterator[memoryview]:
        """The last party's corrections, dealt as they are read; once per lease.

        Raises:
            SessionUnknown: no such lease, or it expired.
            NotAllowed: the caller gets no corrections.
            SessionReplayed: they were streamed before.
        """
        with self._lock:
            leased = self._leases.get(session_id)
            if leased is None or party not in leased.taken:
                raise SessionUnknown(
                    "a session without a lease of this party", expected="a lease first", remedy="Start a new session."
                )
            if party != len(leased.seeds) - 1:
                raise NotAllowed(
                    f"corrections for party {party}",
                    expected=f"a call by party {len(leased.seeds) - 1}",
                    remedy="All other parties expand their material from the seed.",
                )
            if leased.streamed:
                raise SessionReplayed("a second stream for one lease", expected="one", remedy="Start a new session.")
            leased.streamed = True
        start = time.perf_counter()
        yield from corrections(leased.program, leased.seeds)
        self._ledger.close_session(session_id.hex(), "done")
        log.info("session %s dealt in %.3f s", session_id.hex(), time.perf_counter() - start)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _open(self, session_id: bytes, program: Program, model_version: str, parties: int) -> _Leased:
        def derive(purpose: str) -> bytes:
            return hmac.digest(self._root, purpose.encode() + b"/" + session_id, hashlib.sha256)

        seeds = [derive(f"party{party}") for party in range(parties)]
        leased = _Leased(program, model_version, derive("lease")[:16], seeds, time.monotonic())
        self._leases[session_id] = leased
        return leased

    def _forget_old(self) -> None:
        now = time.monotonic()
        for session_id in [key for key, lease in self._leases.items() if now - lease.opened > self._lease_s]:
            del self._leases[session_id]
