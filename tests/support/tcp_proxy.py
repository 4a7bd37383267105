"""Links with faults: a process that forwards TCP connections and delays, slows, holds, damages or breaks them.

TCP delivers in order or not at all, so a link that drops packets one way is one that *holds* bytes: nothing arrives
until it heals, then everything does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
#: Bytes that a direction buffers, in chunks: about what a home router does, and no more than a test waits for.
_CHUNK = 16 << 10
_CHUNKS = 16
_SOCKET_BYTES = 64 << 10
TO_TARGET, TO_CALLER = "to_target", "to_caller"


@dataclass(frozen=True)
class Conditions:
    """What a link does to bytes on the way.

    Attributes:
        delay_s: seconds that each byte takes, each way.
        rate: bits a second, each way; None for as fast as it goes.
        held: directions in which nothing arrives.
        cut_after: bytes to the target, from now on, after which all connections are reset.
        flip_at: byte to the target, from now on, of which one bit arrives wrong.
    """

    delay_s: float = 0.0
    rate: float | None = None
    held: tuple[str, ...] = ()
    cut_after: int | None = None
    flip_at: int | None = None


class TcpProxy:
    """A context manager: the proxy's process runs inside it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.tcp_proxy"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def link(self, target: str) -> ProxiedLink:
        """A new link to ``target``, ``host:port``."""
        return ProxiedLink(self, self._ask("open", target))

    def _ask(self, command: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class ProxiedLink:
    """One link of a :class:`TcpProxy`.

    Attributes:
        address: what callers dial, ``host:port``.
    """

    def __init__(self, proxy: TcpProxy, address: str) -> None:
        self._proxy, self.address = proxy, address

    def set(self, **conditions: Any) -> None:
        """Change the link to these :class:`Conditions`; what is not named is as on a good link."""
        Conditions(**conditions)  # refuses unknown names here
        self._proxy._ask("set", self.address, conditions)

    def hold(self, *directions: str) -> None:
        """Let nothing through, or nothing in the given directions."""
        self.set(held=directions or (TO_TARGET, TO_CALLER))

    def heal(self) -> None:
        """Be a good link again."""
        self.set()

    def reset(self) -> None:
        """Reset all connections; new ones are fine."""
        self._proxy._ask("reset", self.address)

    def passed(self) -> tuple[int, int]:
        """Bytes that arrived so far: at the target, and at callers."""
        to_target, to_caller = self._proxy._ask("passed", self.address)
        return to_target, to_caller


# What follows runs in the proxy's process.


@dataclass(eq=False)
class _Link:
    """A listener, its connections and its conditions."""

    target: tuple[str, int]
    conditions: Conditions = Conditions()
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    passed: dict[str, int] = field(default_factory=lambda: {TO_TARGET: 0, TO_CALLER: 0})
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def set(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self.changed.set()
        self.changed = asyncio.Event()

    async def serve(self, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        """Forward one connection until it ends on both sides."""
        try:
            far, far_writer = await asyncio.open_connection(*self.target, limit=_CHUNK)
        except OSError:
            _reset(near_writer)
            return
        pair = {near_writer, far_writer}
        for writer in pair:
            own = writer.get_extra_info("socket")
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                own.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
            writer.transport.set_write_buffer_limits(high=_CHUNK)
        self.writers |= pair
        try:
            await asyncio.gather(self._forward(near, far_writer, TO_TARGET), self._forward(far, near_writer, TO_CALLER))
        except OSError:
            for writer in pair:
                _reset(writer)
        finally:
            self.writers -= pair
            for writer in pair:
                writer.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: str) -> None:
        buffer: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
        taking = asyncio.create_task(self._take(source, buffer))
        try:
            while True:
                due, data = await buffer.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                while direction in self.conditions.held:
                    await self.changed.wait()
                if not data:
                    break
                if self.conditions.rate:
                    await asyncio.sleep(8 * len(data) / self.conditions.rate)
                await self._give(sink, data, direction)
            if sink.can_write_eof():
                sink.write_eof()
        finally:
            taking.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await taking

    async def _take(self, source: asyncio.StreamReader, buffer: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                data = b""
            await buffer.put((asyncio.get_running_loop().time() + self.conditions.delay_s, data))

    async def _give(self, sink: asyncio.StreamWriter, data: bytes, direction: str) -> None:
        if direction == TO_TARGET:
            data = self._damaged(data)
        self.passed[direction] += len(data)
        sink.write(data)
        await sink.drain()

    def _damaged(self, data: bytes) -> bytes:
        """Flip or cut where the conditions say so, and count down to there."""
        flip_at, cut_after = self.conditions.flip_at, self.conditions.cut_after
        if flip_at is not None:
            if flip_at < len(data):
                data = data[:flip_at] + bytes([data[flip_at] ^ 1]) + data[flip_at + 1 :]
            self.conditions = replace(self.conditions, flip_at=flip_at - len(data) if flip_at >= len(data) else None)
        if cut_after is not None:
            self.conditions = replace(self.conditions, cut_after=max(0, cut_after - len(data)))
            if cut_after <= len(data):
                self.reset()
                raise ConnectionResetError
        return data

    def reset(self) -> None:
        for writer in self.writers:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Control:
    """The proxy's process: links by address, changed by lines of JSON on standard input."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._servers: list[asyncio.Server] = []

    async def answer(self, command: str, subject: str, *arguments: Any) -> Any:
        if command == "open":
            host, _, port = subject.rpartition(":")
            link = _Link((host, int(port)))
            server = await asyncio.start_server(link.serve, "127.0.0.1", 0, limit=_CHUNK)
            self._servers.append(server)
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._links[address] = link
            return address
        link = self._links[subject]
        if command == "set":
            link.set(Conditions(**{**arguments[0], "held": tuple(arguments[0].get("held", ()))}))
        elif command == "reset":
            link.reset()
        return [link.passed[direction] for direction in (TO_TARGET, TO_CALLER)]


async def _main() -> None:
    control = _Control()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = await control.answer(*json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main(_: Sequence[str] = ()) -> None:
    """Run until standard input ends."""
    asyncio.run(_main())


if __name__ == "__main__":
    main()
