"""Parties and dealer as processes of this machine: for the demo, evaluation and tests.

One operator owns everything here, so there is no privacy; the processes, certificates and sockets are the real ones.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import yaml

from mpcvit.errors import InternalError
from mpcvit.wire.tls import OPTIONS
from parties.local.provision import provision_local

CLIENT_ROLE = "demo.client"
OPERATOR_ROLE = "demo.admin"
_PORTS = range(12_000, 30_000)


class Placement(Protocol):
    """An emulated host: its address, and what to put before a command to run it there."""

    @property
    def address(self) -> str:
        """IPv4 address."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command."""


#: Seconds in which parties that have just started may become acquainted with the other roles.
_ACQUAINTED_S = 5.0


class LocalCluster:
    """A context manager: dealer and parties run inside it, and are gone after it.

    Args:
        shares: each party's share folder, party 0 first.
        folder: for certificates, configurations, ledgers and logs; should be a fresh temporary folder.
        hosts: where each role runs, if not here; :class:`Placement`.
        overrides: sections that replace parts of every party's configuration, e.g. ``{"timeouts": {...}}``.
        start_s: seconds within which every process must be ready.
        clients: how many clients there are, each with a certificate of its own.
        standby_dealers: how many dealers there are beside the one that deals, with roles ``dealer1`` and so on.
        route: the address that a caller dials, from (caller, callee, the callee's own address); callers are roles
            and ``client``. By default the callee's own.

    Attributes:
        client_configs: one ``client.yaml`` per client, for :meth:`mpcvit.client.Client.from_config`.
        client_config: the first of them.
        admin_config: an operator's ``admin.yaml`` for all roles.
        processes: running processes by role.
    """

    def __init__(
        self,
        shares: Sequence[Path],
        folder: Path,
        *,
        hosts: Mapping[str, Placement] | None = None,
        overrides: Mapping[str, Any] | None = None,
        start_s: float = 90.0,
        clients: int = 1,
        standby_dealers: int = 0,
        route: Callable[[str, str, str], str] = lambda caller, callee, address: address,
    ) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._health: dict[str, str] = {}
        self._start_s = start_s
        self._hosts = dict(hosts or {})
        parties = len(shares)
        dealers = ["dealer", *(f"dealer{number}" for number in range(1, standby_dealers + 1))]
        self.roles = [*(f"party{index}" for index in range(parties)), *dealers]
        client_roles = [CLIENT_ROLE, *(f"demo{number}.client" for number in range(1, clients))]
        provision_local(folder / "tls", [*self.roles[:parties], "dealer", *client_roles, OPERATOR_ROLE])
        ports = iter(free_ports(4 * parties + 3 * len(dealers)))
        listen = [
            {kind: f"{self._address(f'party{index}')}:{next(ports)}" for kind in ("client", "peer", "health", "admin")}
            for index in range(parties)
        ]
        deal = {
            role: {kind: f"{self._address(role)}:{next(ports)}" for kind in ("party", "health", "admin")}
            for role in dealers
        }
        for index, share in enumerate(shares):
            document = {
                "index": index,
                "parties": parties,
                "listen": listen[index],
                "tls": _tls(f"party{index}"),
                "peers": {
                    peer: route(f"party{index}", f"party{peer}", listen[peer]["peer"])
                    for peer in range(parties)
                    if peer != index
                },
                "dealer": route(f"party{index}", "dealer", deal["dealer"]["party"]),
                "standby_dealers": [route(f"party{index}", role, deal[role]["party"]) for role in dealers[1:]],
                "models": [str(share.resolve())],
                "state": f"state/party{index}",
            }
            self._write(f"party{index}", {**document, **(overrides or {})}, listen[index]["health"])
        programs = [str(shares[0].resolve())]
        for role, addresses in deal.items():
            document = {"listen": addresses, "tls": _tls("dealer"), "programs": programs, "state": f"state/{role}"}
            self._write(role, document, addresses["health"])
        parties_at = [route("client", f"party{index}", entry["client"]) for index, entry in enumerate(listen)]
        self.client_configs: list[Path] = []
        for role in client_roles:
            path = folder / ("client.yaml" if role == CLIENT_ROLE else f"{role}.yaml")
            path.write_text(yaml.safe_dump({"tls": _tls(role), "parties": parties_at}))
            self.client_configs.append(path)
        self.client_config = self.client_configs[0]
        admin = {role: entry["admin"] for role, entry in zip(self.roles, [*listen, *deal.values()], strict=True)}
        self.admin_config = folder / "admin.yaml"
        self.admin_config.write_text(yaml.safe_dump({"tls": _tls(OPERATOR_ROLE), "roles": admin}))

    def __enter__(self) -> Self:
        try:
            for role in self.roles:
                self.start(role)
            for role in self.roles:
                self.wait_ready(role)
            self._wait_acquainted()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, role: str, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """Start one process; its output goes to ``<role>.log``.

        Args:
            options: of the ``serve`` command, after its configuration.
            environment: variables beside those of this process.
        """
        command = "dealer" if role.startswith("dealer") else "party"
        with (self.folder / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                self._command(role, command, "serve", "--config", str(self.folder / f"{role}.yaml"), *options),
                env={**os.environ, **(environment or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def wait_ready(self, role: str) -> None:
        """Block until ``role`` reports that it serves.

        Raises:
            InternalError: it ended or did not become ready; the message holds the end of its log.
        """
        end = time.monotonic() + self._start_s
        if role in self._hosts:
            check = self._command(role, "health", self._health[role])
            while time.monotonic() < end and self.processes[role].poll() is None:
                if subprocess.run(check, capture_output=True, check=False).returncode == 0:
                    return
        # Imported late: whoever only measures in clear has no party installed.
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        with grpc.insecure_channel(self._health[role], options=OPTIONS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < end and self.processes[role].poll() is None:
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    time.sleep(0.05)
        raise InternalError(
            f"{role} not ready: {self.log(role)[-500:]}",
            expected=f"a serving process within {self._start_s:g} s",
            remedy=f"See {self.folder / (role + '.log')}.",
        )

    def _wait_acquainted(self) -> None:
        """Wait a little until parties have seen the other roles, who may have started after them.

        Until then a session may fail for want of a role that is there. The caller notices one that cannot be reached.
        """
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        end = time.monotonic() + _ACQUAINTED_S
        parties = [role for role in self.roles if role.startswith("party") and role not in self._hosts]
        for role in parties:
            with grpc.insecure_channel(self._health[role], options=OPTIONS) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                others = [other for other in self.roles if other != role]
                while others and time.monotonic() < end:
                    try:
                        answer = stub.Check(health_pb2.HealthCheckRequest(service=others[0]), timeout=1)
                    except grpc.RpcError as error:
                        if error.code() is grpc.StatusCode.NOT_FOUND:  # a standby dealer, which is no condition
                            others.pop(0)
                        continue
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        others.pop(0)
                    else:
                        time.sleep(0.1)

    def log(self, role: str) -> str:
        """Return what ``role`` printed so far."""
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End all processes: politely, then firmly."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def _address(self, role: str) -> str:
        return self._hosts[role].address if role in self._hosts else "127.0.0.1"

    def _command(self, role: str, *words: str) -> list[str]:
        prefix = self._hosts[role].prefix if role in self._hosts else ()
        return [*prefix, sys.executable, "-m", "mpcvit.cli", *words]

    def _write(self, role: str, document: dict[str, Any], health: str) -> None:
        self._health[role] = health
        (self.folder / f"{role}.yaml").write_text(yaml.safe_dump(document))


def _tls(role: str) -> dict[str, str]:
    return {"ca": "tls/ca.crt", "cert": f"tls/{role}.crt", "key": f"tls/{role}.key"}


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago; all held at once, so they differ.

    From below the range that systems take outgoing connections' ports from: a party that calls others before all
    listen could otherwise take a port that one of them is about to listen on.
    """
    holders: list[socket.socket] = []
    try:
        while len(holders) < count:
            holder = socket.socket()
            try:
                holder.bind(("127.0.0.1", _PORTS.start + secrets.randbelow(len(_PORTS))))
            except OSError:
                holder.close()
            else:
                holders.append(holder)
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()
