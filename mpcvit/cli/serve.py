"""``mpcvit party serve`` and ``mpcvit dealer serve``."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mpcvit.cli.output import command

party_app = typer.Typer(help="Run a compute party.", no_args_is_help=True)
dealer_app = typer.Typer(help="Run a dealer.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", "-c", help="The role's YAML file.")]
Dev = Annotated[bool, typer.Option("--dev", help="For tests: allow failpoints, which make the process fail.")]


@party_app.callback()
def _party() -> None:
    """Run a compute party."""


@dealer_app.callback()
def _dealer() -> None:
    """Run a dealer."""


@party_app.command("serve")
@command
def serve_party(config: Config, dev: Dev = False) -> None:
    """Serve inferences until stopped by SIGTERM."""
    from parties.common.failpoints import check_failpoints
    from parties.common.settings import PartySettings
    from parties.party import serve

    check_failpoints(dev)
    settings = PartySettings.read(config)
    _set_up(f"party{settings.index}", settings.log_level)
    serve.serve_party(settings)
    _leave()


@dealer_app.command("serve")
@command
def serve_dealer(config: Config, dev: Dev = False) -> None:
    """Serve correlated randomness until stopped by SIGTERM."""
    from parties.common.failpoints import check_failpoints
    from parties.common.settings import DealerSettings
    from parties.dealer import serve

    check_failpoints(dev)
    settings = DealerSettings.read(config)
    _set_up("dealer", settings.log_level)
    serve.serve_dealer(settings)
    _leave()


def _leave() -> NoReturn:
    """End the process at once: all is closed, and native threads have made the interpreter hang in its own end."""
    logging.shutdown()
    with suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _set_up(role: str, log_level: str) -> None:
    """Prepare the process before anything secret is read."""
    from parties.common.core_dumps import forbid_core_dumps
    from parties.common.logs import set_up_logs

    forbid_core_dumps()
    set_up_logs(role, log_level)
