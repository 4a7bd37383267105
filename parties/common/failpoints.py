"""Places in the code at which a test makes this process fail: ``MPCVIT_FAILPOINTS="burned=exit,result=sleep:3"``.

Nothing happens unless the variable is set, and a process whose command line does not say ``--dev`` refuses to start
with it.
"""

from __future__ import annotations

import os
import re
import time
from enum import StrEnum

from mpcvit.errors import ConfigError

VARIABLE = "MPCVIT_FAILPOINTS"
#: Exit status of a process that a failpoint ended.
EXIT_CODE = 77
_ACTION = re.compile(r"exit|raise|sleep:\d+(\.\d+)?")


class Failpoint(StrEnum):
    """Every place that can fail."""

    SESSION_BURNED = "session_burned"  # the session id is in the ledger, nothing was sent to the peer
    MATERIAL_BURNED = "material_burned"  # so is the material's, nothing masked was sent
    RESULT_READY = "result_ready"  # the ledger does not say yet that the session is done
    LEASE_BURNED = "lease_burned"  # at the dealer: the lease is in the ledger, nobody has a seed of it


class InjectedFailure(Exception):
    """What ``raise`` raises: like any bug, it is no error that callers know."""


def check_failpoints(dev: bool) -> None:
    """Refuse a process in which failpoints are set, unless it is started for development.

    Raises:
        ConfigError: they are set without ``dev``, or a name or an action is unknown.
    """
    actions = _actions()
    if actions and not dev:
        raise ConfigError(
            f"{VARIABLE} in the environment",
            expected="no failpoints in a process that serves others",
            remedy=f"Unset {VARIABLE}; for tests, start with --dev.",
        )
    for name, action in actions.items():
        if name not in list(Failpoint) or not _ACTION.fullmatch(action):
            raise ConfigError(
                f"failpoint '{name}={action}'",
                expected=f"NAME=exit, NAME=raise or NAME=sleep:SECONDS, NAME one of {', '.join(Failpoint)}",
                remedy=f"Correct {VARIABLE}.",
            )


def failpoint(place: Failpoint) -> None:
    """Do what the environment says for ``place``; as a rule, nothing.

    Raises:
        InjectedFailure: the environment says so.
    """
    action = _actions().get(place)
    if action == "exit":
        os._exit(EXIT_CODE)
    if action == "raise":
        raise InjectedFailure(place)
    if action is not None:
        time.sleep(float(action.removeprefix("sleep:")))


def _actions() -> dict[str, str]:
    text = os.environ.get(VARIABLE, "")
    pairs = (entry.partition("=") for entry in text.split(",") if entry)
    return {name.strip(): action.strip() for name, _, action in pairs}
