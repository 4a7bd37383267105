"""How commands speak: people get tables on a terminal, machines one JSON object on standard output."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ParamSpec

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mpcvit.errors import ConfigError, MpcvitError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Parameters = ParamSpec("Parameters")

#: Progress and errors; standard output is for results alone.
progress_console = Console(stderr=True)
_result_console = Console()

_EXTRAS = {
    "torch": "bench",
    "crypten": "party",
    "safetensors": "party",
    "grpc_health": "party",
    "timm": "train",
    "torchvision": "train",
}


def print_json(document: Mapping[str, Any]) -> None:
    """Write ``document`` as one JSON object."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """Write name-value pairs as a table."""
    table = Table("", "", title=title, show_header=False, title_justify="left")
    for column in table.columns:
        column.overflow = "fold"  # digests and paths stay whole
    for name, value in rows:
        table.add_row(name, value)
    _result_console.print(table)


def print_grid(title: str, headings: list[str], rows: list[list[str]], caption: str = "") -> None:
    """Write a table of many columns, all but the first of them numbers."""
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _result_console.print(table)


def command(body: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Make errors of ``body`` short and typed: message and exit code, or a JSON object with ``--json``."""

    @functools.wraps(body)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            with _missing_extras():
                body(*args, **kwargs)
        except MpcvitError as error:
            if kwargs.get("json_output"):
                fields = ("reason", "got", "expected", "remedy", "origin")
                print_json({"error": {field: getattr(error, field) for field in fields}})
            else:
                progress_console.print(f"[bold red]{error.reason}[/]", error, highlight=False)
            raise typer.Exit(error.exit_code) from error

    return run


def engine_override(engine: str, parties: int) -> dict[str, str]:
    """The configuration entry for ``--engine``; empty for the default.

    Raises:
        ConfigError: no such engine, or not for so many parties.
    """
    if engine not in ("", "fast", "stock") or (engine == "fast" and parties != 2):
        raise ConfigError(
            f"engine '{engine}' for {parties} parties",
            expected="stock, or fast for 2 parties",
            remedy="Correct --engine or --parties.",
        )
    return {"engine": engine} if engine else {}


@contextmanager
def _missing_extras() -> Iterator[None]:
    """An import that fails for want of an extra says which."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigError(
            f"no module '{error.name}'",
            expected="an installation with all that this command needs",
            remedy=f"Install mpcvit with its extra '{extra}': pip install '.[{extra}]' in its source folder.",
        ) from error


def mib(count: int) -> str:
    """Bytes as MB with two digits (10^6)."""
    return f"{count / 1e6:.2f} MB"
