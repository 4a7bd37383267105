"""``mpcvit diagnose``: why a connection fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.client.settings import ClientSettings
from mpcvit.wire.tls_probe import probe


@command
def diagnose(
    config: Annotated[Path, typer.Option("--config", "-c", help="The client's YAML file.")],
    json_output: Json = False,
) -> None:
    """Try a TLS handshake with every party and say what is wrong; exit code 2 if anything is."""
    settings = ClientSettings.read(config)
    findings = {
        f"party{index}": probe(address, settings.tls.files, f"party{index}")
        for index, address in enumerate(settings.parties)
    }
    if json_output:
        print_json({role: {"ok": error is None, "error": str(error or "")} for role, error in findings.items()})
    else:
        print_table("connections", [(role, str(error or "ok")) for role, error in findings.items()])
    if any(findings.values()):
        raise typer.Exit(2)
