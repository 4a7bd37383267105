"""``mpcvit provision``: certificates for a local deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table


@command
def provision(
    folder: Annotated[Path, typer.Argument(help="Where ca.crt and each role's files go.")],
    parties: Annotated[int, typer.Option(help="Number of compute parties.")] = 2,
    clients: Annotated[list[str] | None, typer.Option("--client", help="Name of a client; repeatable.")] = None,
    json_output: Json = False,
) -> None:
    """Make an authority and certificates for all roles, for demos and test beds on machines of one owner."""
    from parties.provision import provision_local

    roles = [*(f"party{index}" for index in range(parties)), "dealer"]
    roles += [f"{name}.client" for name in clients or ["demo"]]
    provision_local(folder, roles)
    if json_output:
        print_json({"folder": str(folder), "roles": roles})
    else:
        print_table(f"certificates in {folder}", [(role, f"{role}.crt, {role}.key") for role in roles])
