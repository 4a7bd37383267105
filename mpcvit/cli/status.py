"""``mpcvit status`` and ``mpcvit drain``: what an operator sees and does while roles serve."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mpcvit.admin.role_admin import RoleAdmin
from mpcvit.admin.settings import AdminSettings, certificate_role
from mpcvit.cli.output import (
    Cell,
    Json,
    command,
    literal,
    print_json,
    print_table,
    result_console,
    table_of,
    visible,
)
from mpcvit.errors import MpcvitError
from mpcvit.wire.budget import FULL
from mpcvit.wire.tls import ADMIN_SUFFIX
from mpcvit.wire.v1 import admin_pb2

OperatorConfig = Annotated[Path, typer.Option("--config", "-c", help="The operator's YAML file.")]
_SECONDS = (("d", 86_400), ("h", 3_600), ("min", 60))


@command
def status(
    config: OperatorConfig,
    watch: Annotated[bool, typer.Option("--watch", help="Ask again and again, until interrupted.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks with --watch.")] = 2.0,
    json_output: Json = False,
) -> None:
    """Show sessions, material, other roles, certificate, ledger and memory of the roles in the operator's file.

    Exit code 2 if a role cannot be asked. With --watch and --json, one object a line.
    """
    settings = operator_settings(config)
    if not watch:
        found = {role: _ask(settings, role) for role in settings.roles}
        if json_output:
            print_json(_document(found))
        else:
            result_console.print(_tables(found))
        if any(isinstance(answer, MpcvitError) for answer in found.values()):
            raise typer.Exit(2)
    elif json_output:
        while True:
            found = {role: _ask(settings, role) for role in settings.roles}
            sys.stdout.write(json.dumps(_document(found)) + "\n")
            sys.stdout.flush()
            time.sleep(every_s)
    else:
        with Live(console=result_console, auto_refresh=False) as live:
            while True:
                live.update(_tables({role: _ask(settings, role) for role in settings.roles}), refresh=True)
                time.sleep(every_s)


@command
def drain(
    role: Annotated[str, typer.Argument(help="Which role of the operator's file, e.g. party0.")],
    config: OperatorConfig,
    json_output: Json = False,
) -> None:
    """Let a role take no new sessions, end those that run, and stop: as SIGTERM does."""
    settings = operator_settings(config, [role])
    with _admin(settings, role) as admin:
        answer = admin.drain()
    if json_output:
        print_json({"role": role, "sessions": answer.sessions, "drain_s": answer.drain_s})
    else:
        print_table(role, [("drains", f"{answer.sessions} sessions may end within {answer.drain_s:g} s")])


def operator_settings(config: Path, roles: Sequence[str] = ()) -> AdminSettings:
    """Return an operator's settings, in which there are these roles."""
    settings = AdminSettings.read(config)
    settings.tls.files.read()
    settings.tls.files.require_role(ADMIN_SUFFIX)
    for role in roles:
        if role not in settings.roles:
            raise typer.BadParameter(f"'{role}' is none of {', '.join(settings.roles)}", param_hint="ROLE")
    return settings


def _admin(settings: AdminSettings, role: str) -> RoleAdmin:
    return RoleAdmin(settings.roles[role], settings.tls.files, certificate_role(role))


def _ask(settings: AdminSettings, role: str) -> admin_pb2.GetStatusResponse | MpcvitError:
    try:
        with _admin(settings, role) as admin:
            return admin.status()
    except MpcvitError as error:
        return error


def _document(found: dict[str, admin_pb2.GetStatusResponse | MpcvitError]) -> dict[str, Any]:
    """Return answers for ``--json``, and why there is none."""
    return {
        role: {"error": {"reason": answer.reason, "message": str(answer)}}
        if isinstance(answer, MpcvitError)
        else as_json(answer)
        for role, answer in found.items()
    }


def as_json(answer: admin_pb2.GetStatusResponse) -> dict[str, Any]:
    """Return an answer with the names of its fields; digests and ids in hexadecimal."""
    return {
        "version": answer.version,
        "protocol_version": answer.protocol_version,
        "uptime_s": answer.uptime_s,
        "ready": not answer.unmet,
        "unmet": dict(answer.unmet),
        "draining": answer.draining,
        "clients": {
            one.client: {"held": one.held, "waiting": one.waiting, "running": one.running, "ended": one.ended}
            for one in answer.clients
        },
        "models": [
            {
                "name": one.name,
                "version": one.version,
                "budget": one.budget,
                "manifest_sha256": one.manifest_sha256.hex(),
                "active": one.active,
                "pool_ready": one.pool_ready,
                "pool_size": one.pool_size,
                "session_bytes": one.session_bytes,
            }
            for one in answer.models
        ],
        "roles": {
            one.role: {"present": one.present, "silence_s": one.silence_s, "error": one.error} for one in answer.roles
        },
        "leases": {one.party: {"open": one.open, "most": one.most} for one in answer.leases},
        "certificate_days": answer.certificate_days,
        "ledger": {"id": answer.ledger.ledger_id.hex(), "epoch": answer.ledger.epoch},
        "memory": {
            "resident_bytes": answer.memory.resident_bytes,
            "available_bytes": answer.memory.available_bytes,
        },
        "unix_time_s": answer.unix_time_s,
    }


def _tables(found: dict[str, admin_pb2.GetStatusResponse | MpcvitError]) -> Group:
    return Group(
        *(
            table_of(role, [(answer.reason, Text(visible(str(answer)), "red"))])
            if isinstance(answer, MpcvitError)
            else _table(role, answer)
            for role, answer in found.items()
        )
    )


def _table(role: str, answer: admin_pb2.GetStatusResponse) -> Table:
    """Return one role's status for people."""
    unready = ("draining", "yellow") if answer.draining else ("not ready", "red")
    state = unready if answer.unmet else ("ready", "green")
    about = literal(f", up {_duration(answer.uptime_s)}, mpcvit {answer.version}")
    rows: list[tuple[str, Cell]] = [("state", Text.assemble(state, about))]
    rows += [(f"  {name}", why) for name, why in sorted(answer.unmet.items()) if not answer.draining]
    rows += [(one.role, _presence(one)) for one in answer.roles]
    rows += [(one.client, _sessions(one)) for one in answer.clients]
    rows += [(_title(one), _model(one)) for one in answer.models]
    rows += [(one.party, f"{one.open} of {one.most} leases") for one in answer.leases]
    days = answer.certificate_days
    rows += [
        ("certificate", f"{days:.0f} days left" if days > 0 else Text("expired", "bold red")),
        ("ledger", f"{answer.ledger.ledger_id.hex()[:8]} at {answer.ledger.epoch}"),
        ("memory", f"{_size(answer.memory.resident_bytes)} used, {_size(answer.memory.available_bytes)} available"),
    ]
    return table_of(role, rows)


def _presence(one: admin_pb2.RoleStatus) -> Cell:
    if one.error:
        return Text.assemble(("lost", "bold red"), literal(f" for {_duration(one.silence_s)}: {one.error}"))
    return f"there, heard {one.silence_s:.1f} s ago" if one.present else Text("not seen yet", "yellow")


def _sessions(one: admin_pb2.ClientSessions) -> str:
    counts = {"running": one.running, "waiting": one.waiting, "held": one.held, "not fetched": one.ended}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _title(one: admin_pb2.ModelStatus) -> str:
    """Return name, version, and budget if it is not the whole model."""
    return f"{one.name} {one.version}" + ("" if one.budget in ("", FULL) else f" {one.budget}")


def _model(one: admin_pb2.ModelStatus) -> str:
    active = "active" if one.active else "loaded"
    return f"{active}, {one.pool_ready} of {one.pool_size} prepared, {_size(one.session_bytes)} a session"


def _duration(seconds: float) -> str:
    unit, length = next(((unit, length) for unit, length in _SECONDS if seconds >= length), ("s", 1))
    return f"{seconds / length:.1f} {unit}"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
