"""``mpcvit party serve`` and ``mpcvit dealer serve``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import command

party_app = typer.Typer(help="Run a compute party.", no_args_is_help=True)
dealer_app = typer.Typer(help="Run a dealer.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", "-c", help="The role's YAML file.")]


@party_app.callback()
def _party() -> None:
    """Run a compute party."""


@dealer_app.callback()
def _dealer() -> None:
    """Run a dealer."""


@party_app.command("serve")
@command
def serve_party(config: Config) -> None:
    """Serve inferences until stopped by SIGTERM."""
    from parties import server
    from parties.settings import PartySettings

    _log()
    server.serve_party(PartySettings.read(config))


@dealer_app.command("serve")
@command
def serve_dealer(config: Config) -> None:
    """Serve correlated randomness until stopped by SIGTERM."""
    from parties import server
    from parties.settings import DealerSettings

    _log()
    server.serve_dealer(DealerSettings.read(config))


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
