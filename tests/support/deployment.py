"""A deployment that a test may hurt: a proxy on every link, the right answers, and what must hold after every fault."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import yaml
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mpcvit.client import Client
from mpcvit.client.image import encode_picture
from mpcvit.errors import MpcvitError
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.exported import ModelFolder
from mpcvit.wire import READY_SERVICE
from mpcvit.wire.peer_certificate import spki_sha256
from mpcvit.wire.tls import OPTIONS, TlsFiles
from parties.common.audit_chain import read_log
from parties.common.audit_correlation import Correlator
from parties.local.provision import provision_local
from tests.support.authority import Authority
from tests.support.clusters import make_cluster
from tests.support.tcp_proxy import TO_CALLER, TO_TARGET, ProxiedLink, TcpProxy

PARTIES = ("party0", "party1")
#: Logits that differ by more are wrong: the protocols round, and nothing else.
TOLERANCE = 0.05
#: Seconds after a fault within which a clean inference must succeed.
RECOVERY_S = 10.0
#: Descriptors that come and go with connections, and threads that servers' pools keep once they needed them.
SLACK, THREADS = 12, 64
_DEALT = re.compile(r"material ([0-9a-f]{32}) for party (\d) dealt")


@dataclass(frozen=True)
class Outcome:
    """How an inference ended.

    Attributes:
        seconds: from the fault, if one was put in on the way, else from the beginning.
        error: what it raised, if anything.
        wrong: whether it answered, and that was wrong.
    """

    seconds: float
    error: MpcvitError | None = None
    wrong: bool = False

    @property
    def reason(self) -> str:
        """The error's reason, or ``right`` or ``WRONG``."""
        if self.error is not None:
            return self.error.reason
        return "WRONG" if self.wrong else "right"

    def __str__(self) -> str:
        return f"{self.reason} after {self.seconds:.1f} s"


@dataclass(frozen=True)
class Usage:
    """What a process holds: threads, file descriptors, MiB of memory."""

    pid: int
    threads: int
    descriptors: int
    resident_mib: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """As the kernel counts it now."""
        status = Path(f"/proc/{pid}/status").read_text()
        numbers = {key: int(re.findall(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[0]) for key in ("Threads", "VmRSS")}
        return cls(pid, numbers["Threads"], len(os.listdir(f"/proc/{pid}/fd")), numbers["VmRSS"] / 1024)


def free_addresses(count: int) -> list[str]:
    """Addresses on loopback, all free a moment ago."""
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{holder.getsockname()[1]}" for holder in holders]


def pin(files: TlsFiles) -> str:
    """The digest by which the key in ``files`` is pinned."""
    assert files.cert is not None
    return spki_sha256(x509.load_pem_x509_certificate(files.cert.read_bytes()))


class Deployment:
    """A context manager: two parties and a dealer, all links of which run through ``proxy``.

    Args:
        model: an exported model's folder.
        folder: a fresh one.
        overrides: of every party's configuration.

    Attributes:
        authority: one that all roles trust, beside the one that the cluster's own certificates are of.
        links: by ``caller-callee``, e.g. ``party0-dealer``.
        pictures: what tests ask about; their answers are in :attr:`right`.
    """

    def __init__(self, model: Path, folder: Path, proxy: TcpProxy, **overrides: object) -> None:
        self.links: dict[str, ProxiedLink] = {}

        def route(caller: str, callee: str, address: str) -> str:
            self.links[f"{caller}-{callee}"] = proxy.link(address)
            return self.links[f"{caller}-{callee}"].address

        self.cluster = make_cluster(model, folder, route=route, **overrides)
        self.folder = folder
        self.authority = Authority()
        with (folder / "tls/ca.crt").open("ab") as trusted:
            trusted.write(self.authority.certificate_pem)
        for role, address in zip(self.cluster.roles, free_addresses(len(self.cluster.roles)), strict=True):
            self.configure(role, listen={**self.configuration(role)["listen"], "metrics": address})
        exported = ModelFolder.load(model)
        height, width = exported.program.inputs["image"].shape[1:]
        self.pictures = np.random.default_rng(7).integers(0, 256, (4, height, width, 3), dtype=np.uint8)
        self._exported = exported
        self.right: np.ndarray = np.empty(0)

    def __enter__(self) -> Self:
        self.cluster.__enter__()
        try:
            with Client.from_config(self.cluster.client_config) as client:
                manifest = client.models()[0]
            codes = np.stack([encode_picture(picture, manifest) for picture in self.pictures])
            logits = run_reference(self._exported.program, self._exported.weights, {"image": codes})
            self.right = decode(logits, manifest.output_type.frac)
            self.require_recovery(60)
        except BaseException:
            self.cluster.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.cluster.processes.values():
            process.send_signal(signal.SIGCONT)
        self.cluster.stop()

    def configure(self, role: str, **changes: Any) -> None:
        """Change sections of a role's file; takes effect when it starts next."""
        path = self.folder / f"{role}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))

    def configuration(self, role: str) -> dict[str, Any]:
        """A role's file."""
        document: dict[str, Any] = yaml.safe_load((self.folder / f"{role}.yaml").read_text())
        return document

    def client(self) -> Client:
        """A new client with the certificate of the cluster's own."""
        return Client.from_config(self.cluster.client_config)

    def attempt(
        self,
        picture: int = 0,
        *,
        deadline_s: float = 40.0,
        act: Callable[[], object] | None = None,
        phase: str = "online",
        client: Client | None = None,
    ) -> Outcome:
        """Ask for one answer; ``act`` is done once, when the session is in ``phase``."""
        start, acted = time.monotonic(), False

        def progress(now: str, done: int, total: int) -> None:
            nonlocal start, acted
            if act is not None and not acted and now == phase:
                acted, start = True, time.monotonic()
                act()

        own = client or Client.from_config(self.cluster.client_config)
        try:
            answer = own.infer(self.pictures[picture], deadline_s=deadline_s, progress=progress)
        except MpcvitError as error:
            outcome = Outcome(time.monotonic() - start, error)
        else:
            wrong = bool(np.abs(answer.logits - self.right[picture]).max() > TOLERANCE)
            outcome = Outcome(time.monotonic() - start, wrong=wrong)
        finally:
            if client is None:
                own.close()
        assert acted or act is None, f"never in phase {phase}: {outcome}"
        assert not outcome.wrong, "a wrong answer"
        return outcome

    def issue(self, role: str, **certificate: Any) -> TlsFiles:
        """New TLS files of ``role``, whose certificate all roles accept, by :meth:`Authority.issue`."""
        files = self.authority.issue(self.folder / "issued", role, **certificate)
        return replace(files, ca=self.folder / "tls/ca.crt")

    def restart(self, *roles: str) -> None:
        """Stop roles politely and start them again, with their files as they are now."""
        for role in roles:
            self.cluster.processes[role].terminate()
        for role in roles:
            self.cluster.processes[role].wait(timeout=60)
            self.cluster.start(role)
        for role in roles:
            self.cluster.wait_ready(role)

    def client_of(self, name: str) -> Path:
        """The configuration of another client of the same parties."""
        return self._client_config(name, self.issue(f"{name}.client"))

    def stranger(self) -> Path:
        """The client configuration of somebody whose certificate is of an authority that the parties do not know."""
        folder = self.folder / "stranger"
        if not folder.exists():
            provision_local(folder, ["stranger.client"])
            both = (folder / "ca.crt").read_bytes() + (self.folder / "tls/ca.crt").read_bytes()
            (folder / "ca.crt").write_bytes(both)  # so that the parties are trusted, and the own files are in order
        return self._client_config("stranger", TlsFiles.in_folder(folder, "stranger.client"))

    def _client_config(self, name: str, files: TlsFiles) -> Path:
        document = yaml.safe_load(self.cluster.client_config.read_text())
        document["tls"] = {"ca": str(files.ca), "cert": str(files.cert), "key": str(files.key)}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def partition(self, one: str, other: str, *, ways: tuple[str, ...] = (TO_TARGET, TO_CALLER)) -> None:
        """Hold what ``one`` sends to ``other`` (``TO_TARGET``), what comes back (``TO_CALLER``), or both."""
        back = {TO_TARGET: TO_CALLER, TO_CALLER: TO_TARGET}
        self.links[f"{one}-{other}"].hold(*ways)
        if (opposite := self.links.get(f"{other}-{one}")) is not None:
            opposite.hold(*(back[way] for way in ways))

    def signal(self, role: str, number: signal.Signals) -> None:
        """Send a signal to a role's process, and wait for the end of one that kills."""
        process = self.cluster.processes[role]
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait(timeout=10)

    def ready(self, role: str) -> bool:
        """Whether a role's health says that it would serve a session now."""
        address = self.configuration(role)["listen"]["health"]
        request = health_pb2.HealthCheckRequest(service=READY_SERVICE)
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def metrics(self, role: str) -> str:
        """What Prometheus would read of a role."""
        with closing(HTTPConnection(self.configuration(role)["listen"]["metrics"], timeout=10)) as connection:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()

    def recover(self) -> None:
        """End every fault: links heal, stopped processes go on, dead ones start again."""
        for link in self.links.values():
            link.heal()
        for role, process in self.cluster.processes.items():
            process.send_signal(signal.SIGCONT)
            if process.poll() is not None:
                self.cluster.start(role)
        for role in self.cluster.roles:
            self.cluster.wait_ready(role)

    def require_recovery(self, seconds: float = RECOVERY_S) -> Outcome:
        """I4: a clean inference succeeds within ``seconds``."""
        start = time.monotonic()
        while True:
            outcome = self.attempt(deadline_s=max(1.0, start + seconds - time.monotonic()))
            if outcome.error is None:
                return Outcome(time.monotonic() - start)
            assert time.monotonic() - start < seconds, f"no clean inference within {seconds:g} s: {outcome.error}"
            time.sleep(0.2)

    def eventually(self, reasons: set[str], seconds: float = 20.0) -> Outcome:
        """Ask until an attempt ends with one of ``reasons``: roles find one that started anew after a moment."""
        end = time.monotonic() + seconds
        while True:
            outcome = self.attempt(deadline_s=seconds)
            if outcome.reason in reasons:
                return outcome
            assert time.monotonic() < end, outcome
            time.sleep(0.3)

    def usage(self) -> dict[str, Usage]:
        """What every running process holds."""
        found = {}
        for role, process in self.cluster.processes.items():
            if process.poll() is None:
                with suppress(FileNotFoundError, ProcessLookupError, IndexError):  # it ends while it is looked at
                    found[role] = Usage.of(process.pid)
        return found

    def require_no_leak(self, before: dict[str, Usage], threads: int = THREADS, seconds: float = 15.0) -> None:
        """I5: processes that are still the same ones hold no more threads and descriptors than before, soon.

        Args:
            threads: how many more threads they may hold.
        """
        end = time.monotonic() + seconds
        while True:
            grown = [
                f"{role} holds {now.threads} threads and {now.descriptors} descriptors, "
                f"before {old.threads} and {old.descriptors}"
                for role, now in self.usage().items()
                if (old := before.get(role)) is not None
                and old.pid == now.pid
                and (now.threads > old.threads + threads or now.descriptors > old.descriptors + SLACK)
            ]
            if not grown:
                return
            assert time.monotonic() < end, "; ".join(grown)
            time.sleep(0.5)

    def state(self, role: str) -> Path:
        """A role's state folder."""
        return self.folder / self.configuration(role)["state"]

    def require_audit(self) -> int:
        """I3: the chain of every role's audit log is whole, and they agree; how many logs there are."""
        copies = []
        for role in self.cluster.roles:  # party 0's first: the others' know what it says
            log = self.state(role) / "audit.jsonl"
            if log.exists():
                copies.append(Path(shutil.copy(log, self.folder / f"{role}.audit.jsonl")))
        logs = [read_log(path) for path in copies]
        problems = [problem for log in logs for problem in log.problems] + Correlator(logs).compare().problems
        assert not problems, problems[:5]
        return len(logs)

    def ledger(self, role: str) -> dict[str, str]:
        """A role's ledger: state by session id, material ids with ``material/`` before them at parties."""
        path = self.state(role) / "ledger.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            return dict(database.execute("SELECT id, state FROM sessions"))

    def burned_material(self, role: str) -> set[str]:
        """Material ids that a party has burned."""
        return {name.removeprefix("material/") for name in self.ledger(role) if name.startswith("material/")}

    def require_single_use(self) -> None:
        """I2: the three ledgers agree that no lease served twice."""
        leased = set(self.ledger("dealer"))
        for party in PARTIES:
            ledger, burned = self.ledger(party), self.burned_material(party)
            assert burned <= leased, f"{party} burned material that the dealer never leased: {burned - leased}"
            done = [name for name, state in ledger.items() if state == "done" and not name.startswith("material/")]
            assert len(done) <= len(burned), f"{len(done)} sessions of {party} on {len(burned)} leases"
        dealt = Counter(_DEALT.findall(self.cluster.log("dealer")))
        assert not (twice := [found for found, times in dealt.items() if times > 1]), f"dealt twice: {twice}"
