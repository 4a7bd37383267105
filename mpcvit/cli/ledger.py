"""``mpcvit ledger``: what a role's ledger knows of the others', and an operator's consent to another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.config import ConfigRole
from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.errors import ConfigError
from mpcvit.yaml_document import YamlDocument
from parties.common.settings import DealerSettings, PartySettings, StateSettings

if TYPE_CHECKING:  # a client has no database
    from parties.common.ledger import Ledger, OtherLedger

ledger_app = typer.Typer(help="Look into a role's ledger of used ids.", no_args_is_help=True)
LedgerConfig = Annotated[
    Path, typer.Option("--config", "-c", help="The YAML file of the party or dealer whose ledger it is.")
]


@ledger_app.command("show")
@command
def show(config: LedgerConfig, json_output: Json = False) -> None:
    """Show how far the ledger has come, and the newest marks of other roles; the role may be running."""
    ledger = _open(config)
    mark, others = ledger.mark(), ledger.others()
    ledger.close()
    if json_output:
        own = {"ledger_id": mark.ledger_id.hex(), "used_ids": mark.epoch}
        print_json({**own, "others": {other.role: _fields(other) for other in others}})
        return
    print_table("ledgers", [("own", _words(mark.ledger_id.hex(), mark.epoch)), *map(_row, others)])


@ledger_app.command("accept")
@command
def accept(
    role: Annotated[str, typer.Argument(help="Whose ledger to accept, e.g. party1 or dealer.")],
    config: LedgerConfig,
    json_output: Json = False,
) -> None:
    """Take the ledger of another role that was refused, because its operator lost the newest one for good.

    What that role has forgotten can be replayed there. Do it at every role that refuses the ledger.
    """
    ledger = _open(config)
    ledger.accept(role)
    (accepted,) = [other for other in ledger.others() if other.role == role]
    ledger.close()
    if json_output:
        print_json({"accepted": {role: _fields(accepted)}})
    else:
        print_table("accepted", [_row(accepted)])


def _open(config: Path) -> Ledger:
    """Open the ledger of a role that may be running.

    Raises:
        ConfigError: the file is no party's or dealer's, or there is no ledger yet.
    """
    from parties.common.ledger import Ledger

    state = _state(config)
    if state.url is None and not (state.dir / "ledger.sqlite").exists():
        raise ConfigError(
            f"no ledger in {state.dir}",
            expected="the 'state' of a role that has run",
            remedy="Give the configuration of the role with --config; the ledger is made at its first start.",
        )
    return Ledger(state.dir, state.address, start=False)


def _state(config: Path) -> StateSettings:
    match role := ConfigRole.guess(YamlDocument.read(config)):
        case ConfigRole.PARTY:
            return PartySettings.read(config).state
        case ConfigRole.DEALER:
            return DealerSettings.read(config).state
        case _:
            raise ConfigError(
                f"{config}, the configuration of a {role}",
                expected="a party's or a dealer's",
                remedy="Only they have a ledger; give another file with --config.",
            )


def _fields(other: OtherLedger) -> dict[str, object]:
    refused = None if other.refused_id is None else {"ledger_id": other.refused_id, "used_ids": other.refused_epoch}
    return {"ledger_id": other.ledger_id, "used_ids": other.epoch, "refused": refused}


def _row(other: OtherLedger) -> tuple[str, str]:
    accepted = _words(other.ledger_id, other.epoch)
    if other.refused_id is None or other.refused_epoch is None:
        return other.role, accepted
    return other.role, f"{accepted}\nrefused: {_words(other.refused_id, other.refused_epoch)}"


def _words(ledger_id: str, epoch: int) -> str:
    return f"{ledger_id}, used ids: {epoch}"
