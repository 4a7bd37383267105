"""Configuration files of compute parties and dealers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, model_validator

from mpcvit.config_file import ConfigFile, Section, TlsSettings
from mpcvit.program.objective import DEFAULT_OBJECTIVE, OBJECTIVES


class EngineName(StrEnum):
    """How parties compute."""

    FAST = "fast"  # masked wires and function secret sharing: two parties
    STOCK = "stock"  # CrypTen's own protocols: any number of parties


class PartyListen(Section):
    """Addresses ``host:port`` that a party listens on; health is plain gRPC, keep it on loopback."""

    client: str
    peer: str
    health: str


class DealerListen(Section):
    """Addresses ``host:port`` that a dealer listens on; health is plain gRPC, keep it on loopback."""

    party: str
    health: str


class Limits(Section):
    """What a party accepts.

    Attributes:
        sessions: sessions that run at the same time.
        queue: sessions that may wait beyond those.
        prefetch_mib: MiB of corrections held in memory per session; the rest stays in flight until it is used.
    """

    sessions: int = Field(default=2, ge=1)
    queue: int = Field(default=8, ge=0)
    prefetch_mib: int = Field(default=256, ge=1)


class Pool(Section):
    """Material that the fast engine fetches and prepares ahead of sessions, per model.

    Attributes:
        sessions: how many sessions' material waits ready; more may be made on demand.
        memory_mib: MiB of one session's material that stay in memory; what is longer goes to disk.
        expansion_mib: MiB that one session's material may be expanded to ahead; the rest is expanded while it runs.
    """

    sessions: int = Field(default=1, ge=1)
    memory_mib: int = Field(default=256, ge=0)
    expansion_mib: int = Field(default=1900, ge=0)


class Timeouts(Section):
    """Seconds.

    Attributes:
        pair_s: until all parties hold the session.
        offline_s: until the correlated randomness is there.
        stall_s: without a sign of life from a connected peer.
        op_s: that any one message may take.
        session_s: for the whole session, and as long as a result waits to be fetched.
        drain_s: for running sessions after a request to stop.
    """

    pair_s: float = Field(default=10, gt=0)
    offline_s: float = Field(default=120, gt=0)
    stall_s: float = Field(default=5, gt=0)
    op_s: float = Field(default=30, gt=0)
    session_s: float = Field(default=300, gt=0)
    drain_s: float = Field(default=20, gt=0)


class PartySettings(ConfigFile):
    """``partyN.yaml``.

    Attributes:
        index: this party's number, from 0.
        parties: how many compute parties there are.
        listen, tls: own addresses and certificate (role ``party<index>``).
        peers: peer address of every other party by number.
        dealer: the dealer's address.
        engine: ``fast`` or ``stock``; by default fast for two parties, else stock. All parties name the same.
        objective: what the fast engine's plan minimises: ``wan``, ``lan``, ``loopback``, ``rounds`` or
            ``material``; the same at all parties.
        models: folders written by ``mpcvit model share`` for this party.
        state: folder of the session ledger; must survive restarts.
        threads: CPU threads per process for tensor work.
    """

    index: int = Field(ge=0)
    parties: int = Field(default=2, ge=2)
    listen: PartyListen
    tls: TlsSettings
    peers: dict[int, str]
    dealer: str
    models: list[Path] = Field(min_length=1)
    state: Path
    threads: int = Field(default=1, ge=1)
    engine: EngineName | None = None
    objective: str = DEFAULT_OBJECTIVE.name
    limits: Limits = Limits()
    pool: Pool = Pool()
    timeouts: Timeouts = Timeouts()

    @model_validator(mode="after")
    def _peers_complete(self) -> PartySettings:
        others = set(range(self.parties)) - {self.index}
        if self.index >= self.parties or set(self.peers) != others:
            raise ValueError(f"party {self.index} of {self.parties} needs peers {sorted(others)}")
        if self.engine is EngineName.FAST and self.parties != 2:
            raise ValueError("the fast engine runs with 2 parties; use engine: stock for more")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective '{self.objective}' is none of {', '.join(OBJECTIVES)}")
        return self

    @property
    def engine_name(self) -> EngineName:
        """The engine to run."""
        return self.engine or (EngineName.FAST if self.parties == 2 else EngineName.STOCK)


class DealerSettings(ConfigFile):
    """``dealer.yaml``.

    Attributes:
        listen, tls: own addresses and certificate (role ``dealer``).
        programs: folders with the ``program.json`` of each model that is served; no weights.
        state: folder of the lease ledger; must survive restarts.
        threads: CPU threads for tensor work.
        lease_s: seconds after which a lease that was not streamed is forgotten.
    """

    listen: DealerListen
    tls: TlsSettings
    programs: list[Path] = Field(min_length=1)
    state: Path
    threads: int = Field(default=1, ge=1)
    lease_s: float = Field(default=300, gt=0)
