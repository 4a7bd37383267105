"""``mpcvit diagnose``: why a client's calls fail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_findings, print_json
from mpcvit.client.diagnosis import findings
from mpcvit.client.settings import ClientSettings


@command
def diagnose(
    config: Annotated[Path, typer.Option("--config", "-c", help="The client's YAML file.")],
    json_output: Json = False,
) -> None:
    """Check the own certificate, try a TLS handshake and a call with every party, compare what they serve.

    Says what is wrong; exit code 2 if anything is.
    """
    found = list(findings(ClientSettings.read(config)))
    if json_output:
        print_json({finding.subject: finding.as_json for finding in found})
    else:
        print_findings("connections", found)
    if any(finding.error for finding in found):
        raise typer.Exit(2)
