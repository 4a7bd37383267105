"""What a network really does: round trip of a small message, rate of a large one, each between two hosts.

    python -m mpcvit.measure.network.check wan

prints one JSON object. With ``serve`` or ``ask ADDRESS`` it is one of the two ends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median

from mpcvit.errors import InternalError
from mpcvit.link_profile import link_profile
from mpcvit.measure.network.namespaces import EmulatedNetwork, Host

_PORT = 7700
_PINGS = 15
_PING_BYTES = 8
_TRANSFERS = 3  # the first ones open the congestion window
_LIMIT_S = 60.0


@dataclass(frozen=True)
class LinkMeasurement:
    """A link as TCP sees it.

    Attributes:
        round_trip_s: median of small messages there and back, seconds.
        bytes_per_s: payload of the fastest transfer over its time, from its first byte sent to the answer.
    """

    round_trip_s: float
    bytes_per_s: float


def measure(server: Host, client: Host, *, transfer_bytes: int = 50_000_000) -> LinkMeasurement:
    """Measure from ``client`` to ``server`` and back, with a process on each.

    Raises:
        InternalError: one of them failed.
    """
    module = [sys.executable, "-m", __name__ if __name__ != "__main__" else "mpcvit.measure.network.check"]
    serve = subprocess.Popen(  # noqa: S603  # this module
        server.command([*module, "serve", server.address]), stdout=subprocess.PIPE, text=True
    )
    try:
        with serve:
            if serve.stdout is not None:
                serve.stdout.readline()  # it listens
            ask = subprocess.run(  # noqa: S603  # this module
                client.command([*module, "ask", server.address, str(transfer_bytes)]),
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
            )
            if ask.returncode != 0:
                raise InternalError(
                    f"a measurement that ends with '{ask.stderr.strip()[-300:]}'",
                    expected="a connection between two hosts",
                    remedy="Check that nothing else uses the port.",
                )
            return LinkMeasurement(**json.loads(ask.stdout))
    finally:
        serve.kill()


def _serve(address: str) -> None:
    """Answer one client: send small messages back, acknowledge large ones."""
    with socket.create_server((address, _PORT)) as listener:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while header := _receive(connection, 8):
            _drain(connection, int.from_bytes(header, "little"))
            connection.sendall(b"\0")


def _ask(address: str, transfer_bytes: int) -> LinkMeasurement:
    with socket.create_connection((address, _PORT), timeout=_LIMIT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pings = [_timed(connection, _PING_BYTES) for _ in range(_PINGS)]
        transfers = [_timed(connection, transfer_bytes) for _ in range(_TRANSFERS)]
    return LinkMeasurement(median(pings), transfer_bytes / min(transfers))


def _timed(connection: socket.socket, count: int) -> float:
    """Return the seconds from sending ``count`` bytes to their acknowledgement."""
    message = count.to_bytes(8, "little") + bytes(count)
    start = time.perf_counter()
    connection.sendall(message)
    _receive(connection, 1)
    return time.perf_counter() - start


def _receive(connection: socket.socket, count: int) -> bytes:
    """Return the next ``count`` bytes, few; empty if the other side closed."""
    return connection.recv(count, socket.MSG_WAITALL)


def _drain(connection: socket.socket, count: int) -> None:
    """Read ``count`` bytes and forget them."""
    buffer = bytearray(1 << 20)
    while count > 0:
        got = connection.recv_into(buffer, min(count, len(buffer)))
        if not got:
            raise EOFError
        count -= got


def main(arguments: list[str]) -> None:
    """Run ``PROFILE``, ``serve ADDRESS`` or ``ask ADDRESS BYTES``."""
    if arguments[0] == "serve":
        _serve(arguments[1])
        return
    if arguments[0] == "ask":
        result = _ask(arguments[1], int(arguments[2]))
    else:
        with EmulatedNetwork(link_profile(arguments[0]), 2) as network:
            result = measure(network.hosts[0], network.hosts[1])
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
