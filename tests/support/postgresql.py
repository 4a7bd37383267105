"""A real PostgreSQL server for tests, where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

#: So that tests can look for it in messages.
PASSWORD = "canary-5f2e"  # noqa: S105


@dataclass
class Server:
    """A running server.

    Attributes:
        url: of an empty database.
        process: the server's own process, whose children serve connections.
    """

    url: str
    process: subprocess.Popen[bytes]

    def signal(self, number: int) -> None:
        """Send a signal to the server and to all that it started."""
        pids = [self.process.pid]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in [*pids, *map(int, children)]:
            os.kill(pid, number)


@contextmanager
def postgresql(*options: str) -> Iterator[Server]:
    """Run a server with ``options`` such as ``fsync=off``; skip the test if there is no PostgreSQL here."""
    programs = _programs()
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="mpcvit-postgresql-"))
    try:
        if user:
            shutil.chown(folder, user)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "ledger", "--auth=scram-sha-256", f"--pwfile={secret}", "-N"]
        subprocess.run(initdb, user=user, check=True, capture_output=True, cwd=folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", *options]
        command = [programs / "postgres", "-D", data, *(word for one in settings for word in ("-c", one))]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd=folder)
        server = Server(f"postgresql://ledger:{PASSWORD}@127.0.0.1:{port}/postgres", process)
        try:
            _wait(server, folder / "log")
            yield server
        finally:
            server.signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)  # ends without waiting for connections
            process.wait(20)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Return the folder of ``initdb`` and ``postgres``."""
    found = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = Path(found).resolve() if found else next(iter(reversed(installed)), None)
    if program is None or not (program.parent / "postgres").exists():
        pytest.skip("no PostgreSQL server here: install the package 'postgresql'")
    return program.parent


def _user() -> str | None:
    """Return who runs the server: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _wait(server: Server, log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(server.url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > end or server.process.poll() is not None:
                raise AssertionError(log.read_text()) from None
            time.sleep(0.1)
