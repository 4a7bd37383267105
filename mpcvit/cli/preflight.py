"""``mpcvit preflight``: whether a role can serve, found out before it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.config import ConfigRole
from mpcvit.cli.output import Json, command, print_findings, print_json
from mpcvit.client.settings import ClientSettings
from mpcvit.errors import ConfigError
from mpcvit.finding import SetupFinding
from mpcvit.yaml_document import YamlDocument
from parties.common.settings import DealerSettings, PartySettings


@command
def preflight(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file of a party, a dealer or a client.")],
    role: Annotated[
        ConfigRole | None, typer.Option(help="Whose file it is; guessed from its keys if not given.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Check what 'serve' needs: certificate, ports, models, state folder, memory, peers, dealer and clocks.

    Failed checks say what to do. Exit code 0 if all is good, 1 if a check failed, 4 if the configuration is wrong.
    """
    kind = role or ConfigRole.guess(YamlDocument.read(config))
    found = list(_findings(kind, config))
    if json_output:
        ok = not any(finding.error for finding in found)
        print_json({"role": str(kind), "ok": ok, "checks": {finding.subject: finding.as_json for finding in found}})
    else:
        print_findings(f"preflight of a {kind}", found)
    if any(finding.error for finding in found):
        raise typer.Exit(1)


def _findings(kind: ConfigRole, config: Path) -> Iterator[SetupFinding]:
    """Yield the findings of the role; roles are imported late, as a client has no party installed.

    Raises:
        ConfigError: the configuration is wrong.
    """
    match kind.settings.read(config):
        case PartySettings() as settings:
            from parties.party.preflight import findings as of_party

            yield from of_party(settings)
        case DealerSettings() as settings:
            from parties.dealer.preflight import findings as of_dealer

            yield from of_dealer(settings)
        case ClientSettings() as settings:
            from mpcvit.client.diagnosis import findings as of_client

            yield from of_client(settings)
        case _:
            raise ConfigError(
                f"{config}, the configuration of a {kind}",
                expected="a party's, a dealer's or a client's",
                remedy="Check it with 'mpcvit config validate'; nothing is served or called with it alone.",
            )
