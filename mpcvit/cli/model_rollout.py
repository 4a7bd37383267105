"""``mpcvit model load`` and ``mpcvit model activate``: another version at roles that run."""

from __future__ import annotations

from typing import Annotated

import typer

from mpcvit.admin.role_admin import RoleAdmin
from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.cli.status import OperatorConfig, operator_settings

Roles = Annotated[
    list[str] | None, typer.Option("--role", help="One of the operator's roles, repeatable. Default: all that do this.")
]


@command
def load(
    folder: Annotated[str, typer.Argument(help="Folder on the role's machine, relative to its 'load_from'.")],
    config: OperatorConfig,
    role: Annotated[str, typer.Option("--role", help="One of the operator's roles, e.g. party0.")],
    json_output: Json = False,
) -> None:
    """Load a share folder into a running party, or a program into a running dealer. Sessions go on as before."""
    settings = operator_settings(config, [role])
    with RoleAdmin(settings.roles[role], settings.tls.files, role) as admin:
        model = admin.load(folder)
    facts = {"role": role, "name": model.name, "version": model.version, "manifest_sha256": model.manifest_sha256.hex()}
    if json_output:
        print_json(facts)
    else:
        print_table(f"loaded {folder}", [(name, value) for name, value in facts.items() if value])


@command
def activate(
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="A version that all parties have loaded.")],
    config: OperatorConfig,
    role: Roles = None,
    json_output: Json = False,
) -> None:
    """Give new sessions to a version. Each operator does so at its own parties; party 0's choice counts for clients."""
    name, _, version = model.rpartition(":")
    if not name or not version:
        raise typer.BadParameter(f"'{model}' is not NAME:VERSION", param_hint="NAME:VERSION")
    settings = operator_settings(config, role or [])
    chosen = role or [one for one in settings.roles if one.startswith("party")]
    for one in sorted(chosen, reverse=True):  # party 0 last: clients follow it
        with RoleAdmin(settings.roles[one], settings.tls.files, one) as admin:
            admin.activate(name, version)
    if json_output:
        print_json({"model": name, "version": version, "roles": sorted(chosen)})
    else:
        print_table(f"active: {model}", [("at", ", ".join(sorted(chosen)))])
