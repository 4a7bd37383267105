"""What parties and dealers both look at before they serve. Every function returns a fact, or raises what is wrong."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Callable
from typing import Protocol

import grpc

from mpcvit.errors import ConfigError
from mpcvit.wire.own_certificate import expires
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.tls_probe import probe
from mpcvit.wire.v1 import session_pb2
from parties.common.conditions import available_memory, disk
from parties.common.ledger import Ledger
from parties.common.listen import check_free
from parties.common.settings import StateSettings
from parties.common.state_lock import lock_state
from parties.common.version import require_version

#: Seconds that a call to another role may take.
CALL_S = 5.0
#: Seconds by which clocks may differ: sessions say until when they are wanted.
_CLOCK_S = 10.0


class CheckAnswer(Protocol):
    """A sign of life of another role."""

    @property
    def protocol_version(self) -> int:
        """Which it speaks."""

    @property
    def unix_time_s(self) -> float:
        """Its clock; 0 if it does not say."""


def certificate(role: str, files: TlsFiles) -> str:
    """Look at the own TLS files: they belong together, are valid now, and are ``role``'s."""
    files.read()
    files.require_role(role)
    if files.cert is None:
        raise ConfigError("no certificate", expected=f"one for {role}", remedy="Give 'cert' and 'key' under 'tls'.")
    days = (expires(files.cert) - datetime.datetime.now(datetime.UTC)).days
    return f"{role}, valid for {days} more days"


def port(address: str) -> str:
    """Look whether ``address`` is free."""
    check_free(address)
    return f"{address} is free"


def state(settings: StateSettings, needed: int) -> str:
    """Look whether the state folder is this process's alone, can be written to, and has ``needed`` bytes free.

    Makes folder and ledger if they are missing, as ``serve`` does.
    """
    with lock_state(settings.dir):
        if (why := disk(settings.dir)()) is not None:
            raise ConfigError(
                f"{settings.dir}: {why}",
                expected="a writable folder with free space",
                remedy="Free disk space, or correct 'state' in the configuration.",
            )
        free = shutil.disk_usage(settings.dir).free
        if free < needed:
            raise ConfigError(
                f"{free >> 20} MiB free in {settings.dir}",
                expected=f"at least the {needed >> 20} MiB that prepared material may take",
                remedy="Free disk space, or lower 'pool.sessions' or raise 'pool.memory_mib' in the configuration.",
            )
        mark = ledger_mark(settings)
    return f"writable, {free >> 20} MiB free; ledger with {mark.epoch} used ids"


def ledger_mark(settings: StateSettings) -> session_pb2.LedgerMark:
    """Return how far the own ledger has come.

    Raises:
        ConfigError, LedgerUnavailable: it cannot be used.
    """
    ledger = Ledger(settings.dir, settings.address, start=False)
    try:
        return ledger.mark()
    finally:
        ledger.close()


def memory(needed: int) -> str:
    """Look whether ``needed`` bytes can still be had."""
    available = available_memory()
    if available < needed:
        raise ConfigError(
            f"{available >> 20} MiB of memory that can still be had",
            expected=f"about {needed >> 20} MiB for all sessions that may run and wait prepared",
            remedy="Lower 'limits.sessions' or 'pool.sessions', or give the process more memory.",
        )
    return f"about {needed >> 20} MiB needed, {available >> 20} MiB available"


def other_role(role: str, address: str, files: TlsFiles, ask: Callable[[], CheckAnswer] | None) -> str:
    """Look whether ``role`` answers at ``address``, with its certificate, this protocol version, and the same time.

    Args:
        ask: calls it; None if a handshake must do.
    """
    if (error := probe(address, files, role)) is not None:
        raise error
    if ask is None:
        return f"its certificate is shown at {address}; not called, as our state cannot be used"
    start = time.time()
    try:
        answer = ask()
    except grpc.RpcError as error:
        raise from_rpc_error(error, role) from error
    end = time.time()
    require_version(answer.protocol_version, role)
    if not answer.unix_time_s:
        return f"answers at {address}"
    ahead_s = answer.unix_time_s - (start + end) / 2
    if abs(ahead_s) > _CLOCK_S + (end - start) / 2:
        raise ConfigError(
            f"the clock of {role}, which is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours",
            expected=f"clocks that differ by at most {_CLOCK_S:g} s",
            remedy="Let both machines keep time with NTP: sessions and certificates are good until a time of day.",
        )
    return f"answers at {address}; clocks differ by {abs(ahead_s):.1f} s"
