"""``mpcvit provision``: certificates for a local deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.wire.peer_certificate import peer_certificate
from mpcvit.wire.tls import ADMIN_SUFFIX, CLIENT_SUFFIX


@command
def provision(
    folder: Annotated[Path, typer.Argument(help="Folder to write ca.crt and each role's files to.")],
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    clients: Annotated[list[str] | None, typer.Option("--client", help="Name of a client; repeatable.")] = None,
    admins: Annotated[list[str] | None, typer.Option("--admin", help="Name of an operator; repeatable.")] = None,
    json_output: Json = False,
) -> None:
    """Make an authority and certificates for all roles, for demos and test beds on machines of one owner."""
    from parties.local.provision import provision_local

    roles = [*(f"party{index}" for index in range(parties)), "dealer"]
    roles += [f"{name}{CLIENT_SUFFIX}" for name in clients or ["demo"]]
    roles += [f"{name}{ADMIN_SUFFIX}" for name in admins or []]
    provision_local(folder, roles)
    keys = {role: peer_certificate((folder / f"{role}.crt").read_bytes()).spki_sha256 for role in roles}
    if json_output:
        print_json({"folder": str(folder), "roles": roles, "spki_sha256": keys})
    else:
        rows = [(role, f"{role}.crt, {role}.key; key for tls.spki_sha256: {keys[role]}") for role in roles]
        print_table(f"certificates in {folder}", rows)
