"""Configuration files of compute parties and dealers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from mpcvit.config_file import Address, ConfigFile, Section, TlsSettings, reaches, require_different
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE, OBJECTIVES


class EngineName(StrEnum):
    """How parties compute."""

    FAST = "fast"  # masked wires and function secret sharing: two parties
    STOCK = "stock"  # CrypTen's own protocols: any number of parties


#: A dealer deals for no more.
MOST_PARTIES = 16


class LogLevel(StrEnum):
    """What a service logs; SIGUSR1 turns ``debug`` on and off at run time."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PartyListen(Section):
    """Addresses ``host:port`` that a party listens on.

    Health is plain gRPC, and metrics, which are optional, are plain HTTP: keep them on loopback or a private network.
    The optional admin port is for operators alone, by their certificates.

    Attributes:
        token: for clients that show a token instead of a certificate; none by default.
    """

    client: Address
    peer: Address
    health: Address
    metrics: Address | None = None
    token: Address | None = None
    admin: Address | None = None

    @property
    def all(self) -> list[str]:
        """Every address."""
        return [self.client, self.peer, self.health, *filter(None, [self.metrics, self.token, self.admin])]

    @model_validator(mode="after")
    def _differ(self) -> PartyListen:
        require_different(self.all)
        return self


class DealerListen(Section):
    """Addresses ``host:port`` that a dealer listens on.

    Health is plain gRPC, and metrics, which are optional, are plain HTTP: keep them on loopback or a private network.
    The optional admin port is for operators alone, by their certificates.
    """

    party: Address
    health: Address
    metrics: Address | None = None
    admin: Address | None = None

    @property
    def all(self) -> list[str]:
        """Every address."""
        return [self.party, self.health, *filter(None, [self.metrics, self.admin])]

    @model_validator(mode="after")
    def _differ(self) -> DealerListen:
        require_different(self.all)
        return self


class OtelSettings(Section):
    """Where traces go.

    Attributes:
        endpoint: ``https://host:port`` of an OTLP collector over gRPC; ``http://`` for one on this machine.
        ca: PEM file of the authority of the collector's certificate; by default those that gRPC brings.
    """

    endpoint: str = Field(pattern=r"^https?://[^/\s]+$")
    ca: Path | None = None


#: Sessions that a client holds for every one that may be ready: some are not complete, of some the result waits.
HELD_PER_READY = 4
#: A client fetches one result, and submits the next picture; whatever it does, it may make some calls.
_CALLS_PER_SESSION, _FEWEST_CALLS = 2, 32


class Limits(Section):
    """What a party accepts.

    Attributes:
        sessions: sessions that run at the same time.
        queue: sessions that may wait beyond those.
        client_sessions: sessions that one client may hold, results that it has not fetched included; four times as many
            as run and wait if not given. A client that is alone may use all room; others find theirs in any case.
        client_calls: calls that one client may have open at the same time; two for each of its sessions if not given.
        memory_mib: MiB that the sessions that run may take in all; half of the machine's memory if not given.
        prefetch_mib: MiB of corrections held in memory per session; the rest stays in flight until it is used.
    """

    sessions: int = Field(default=2, ge=1)
    queue: int = Field(default=8, ge=0)
    client_sessions: int | None = Field(default=None, ge=1)
    client_calls: int | None = Field(default=None, ge=4)
    memory_mib: int | None = Field(default=None, ge=1)
    prefetch_mib: int = Field(default=256, ge=1)

    @property
    def ready(self) -> int:
        """Sessions that run and wait for their turn at the same time."""
        return self.sessions + self.queue

    @property
    def sessions_of_client(self) -> int:
        """Sessions that one client may hold, where no policy of its own says otherwise."""
        return self.client_sessions or HELD_PER_READY * self.ready

    @property
    def calls_of_client(self) -> int:
        """Calls that one client may have open at the same time."""
        return self.client_calls or max(_FEWEST_CALLS, _CALLS_PER_SESSION * self.sessions_of_client)


class Pool(Section):
    """Material that the fast engine fetches and prepares ahead of sessions, per model.

    Attributes:
        sessions: how many sessions' material waits ready; more may be made on demand.
        memory_mib: MiB of one session's material that stay in memory; what is longer goes to disk.
    """

    sessions: int = Field(default=1, ge=1)
    memory_mib: int = Field(default=256, ge=0)


class Timeouts(Section):
    """Seconds.

    Attributes:
        pair_s: until all parties hold the session.
        offline_s: until the correlated randomness is there.
        stall_s: without a sign of life from a connected peer.
        op_s: that any one message may take, and that material may stall.
        session_s: for the whole session, and as long as a result waits to be fetched.
        drain_s: for running sessions after a request to stop.
    """

    pair_s: float = Field(default=10, gt=0)
    offline_s: float = Field(default=120, gt=0)
    stall_s: float = Field(default=5, gt=0)
    op_s: float = Field(default=30, gt=0)
    session_s: float = Field(default=300, gt=0)
    drain_s: float = Field(default=20, gt=0)


class StateSettings(Section):
    """What must survive restarts. A plain path stands for ``dir``.

    Attributes:
        dir: folder of this process alone: audit log, and the ledger of used ids unless ``url`` says otherwise.
        url: ``postgresql://...``: a database that holds the ledger instead; several dealers may share it.
    """

    short = "dir"
    dir: Path
    url: SecretStr | None = None

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("not a postgresql:// address")
        return url

    @property
    def address(self) -> str | None:
        """``url`` with its password, for the database alone."""
        return None if self.url is None else self.url.get_secret_value()


class PartySettings(ConfigFile):
    """``partyN.yaml``.

    Attributes:
        index: this party's number, from 0.
        parties: how many compute parties there are.
        listen, tls: own addresses and certificate (role ``party<index>``).
        peers: peer address of every other party by number.
        dealer: the dealer's address.
        standby_dealers: dealers that take over, in this order, when those before are lost; all parties list the same.
        engine: ``fast`` or ``stock``; by default fast for two parties, else stock. All parties name the same.
        objective: what the fast engine's plan minimises: ``wan``, ``lan``, ``loopback``, ``rounds`` or
            ``material``; the same at all parties.
        models: folders written by ``mpcvit model share`` for this party.
        load_from: folder below which an operator may load models into the running party; none by default.
        owners: PEM files of model owners' public keys; if there are any, models that none of them signed are refused.
        tenants: ``tenants.yaml``, which says what each client may do; by default every client may use every model.
        state: where the ledger of sessions and the audit log are; must survive restarts.
        threads: CPU threads per process for tensor work.
        log_level: the least that is logged.
        otel: where traces go; none are made without.
    """

    index: int = Field(ge=0)
    parties: int = Field(default=2, ge=2)
    listen: PartyListen
    tls: TlsSettings
    peers: dict[int, Address]
    dealer: Address
    standby_dealers: list[Address] = Field(default_factory=list)
    models: list[Path] = Field(min_length=1)
    load_from: Path | None = None
    owners: list[Path] = Field(default_factory=list)
    tenants: Path | None = None
    state: StateSettings
    threads: int = Field(default=1, ge=1)
    engine: EngineName | None = None
    objective: str = DEFAULT_OBJECTIVE.name
    limits: Limits = Limits()
    pool: Pool = Pool()
    timeouts: Timeouts = Timeouts()
    log_level: LogLevel = LogLevel.INFO
    otel: OtelSettings | None = None

    @model_validator(mode="after")
    def _peers_complete(self) -> PartySettings:
        others = set(range(self.parties)) - {self.index}
        if self.index >= self.parties or set(self.peers) != others:
            raise ValueError(f"party {self.index} of {self.parties} needs peers {sorted(others)}")
        for key, address in [
            *((f"peers.{peer}", address) for peer, address in self.peers.items()),
            ("dealer", self.dealer),
            *(("standby_dealers", address) for address in self.standby_dealers),
        ]:
            if any(reaches(address, listener) for listener in self.listen.all):
                raise ValueError(f"{key}: {address}, an address that this party itself listens on")
        require_different([*self.peers.values(), self.dealer, *self.standby_dealers])
        self.tls.require_pins_of([*(f"party{peer}" for peer in self.peers), "dealer"])
        if self.listen.token is not None and self.tenants is None:
            raise ValueError("listen.token: tokens are accepted as 'tenants' says, which is missing")
        if self.engine is EngineName.FAST and self.parties != 2:
            raise ValueError("the fast engine runs with 2 parties; use engine: stock for more")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective '{self.objective}' is none of {', '.join(OBJECTIVES)}")
        return self

    @property
    def engine_name(self) -> EngineName:
        """The engine to run."""
        return self.engine or (EngineName.FAST if self.parties == 2 else EngineName.STOCK)


class DealerLimits(Section):
    """What a dealer lets each party hold.

    Attributes:
        leases: leases that one party may hold open, until all parties have their material; at least one per model.
        backlog_mib: MiB of one lease that are dealt ahead of the party that reads slower.
        weight_masks: masks of weights that are remembered, whoever asked for them.
    """

    leases: int = Field(default=8, ge=1)
    backlog_mib: int = Field(default=128, ge=1)
    weight_masks: int = Field(default=64, ge=1)


class DealerSettings(ConfigFile):
    """``dealer.yaml``.

    Attributes:
        listen, tls: own addresses and certificate (role ``dealer``).
        programs: folders with the ``program.json`` of each model that is served; no weights.
        load_from: folder below which an operator may load programs into the running dealer; none by default.
        state: where the ledger of leases and the audit log are; must survive restarts.
        threads: CPU threads for tensor work.
        lease_s: seconds after which a lease ends, whether it was streamed or not.
        limits: what each party may hold.
        log_level: the least that is logged.
        otel: where traces go; none are made without.
    """

    listen: DealerListen
    tls: TlsSettings
    programs: list[Path] = Field(min_length=1)
    load_from: Path | None = None
    state: StateSettings
    threads: int = Field(default=1, ge=1)
    lease_s: float = Field(default=300, gt=0)
    limits: DealerLimits = DealerLimits()
    log_level: LogLevel = LogLevel.INFO
    otel: OtelSettings | None = None

    @model_validator(mode="after")
    def _pins(self) -> DealerSettings:
        self.tls.require_pins_of([f"party{index}" for index in range(MOST_PARTIES)])
        return self
