"""How commands speak: people get tables on a terminal, machines one JSON object on standard output."""

from __future__ import annotations

import functools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, NoReturn, ParamSpec

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mpcvit.errors import ConfigError, MpcvitError
from mpcvit.finding import SetupFinding
from mpcvit.store.out_folder import storage_error

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Parameters = ParamSpec("Parameters")

#: Progress and errors; standard output is for results alone.
progress_console = Console(stderr=True)
result_console = Console()

_EXTRAS = {
    "torch": "bench",
    "crypten": "party",
    "safetensors": "party",
    "grpc_health": "party",
    "jwt": "party",
    "numba": "party",
    "psycopg": "postgres",
    "sqlalchemy": "party",
    "matplotlib": "train",
    "optuna": "train",
    "timm": "train",
    "torchvision": "train",
}


#: What a table shows: plain text, in which brackets are brackets, or styled text.
Cell = str | Text


def visible(text: str) -> str:
    """Return ``text`` with question marks for what does not print: names of files may hold a terminal's commands."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def literal(text: str) -> Text:
    """Return ``text`` as it may be printed: without markup, and :func:`visible`."""
    return Text(visible(text))


def print_json(document: Mapping[str, Any]) -> None:
    """Write ``document`` as one JSON object."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def print_notices(notices: Iterable[str]) -> None:
    """Write what should be known beside a result to standard error."""
    for notice in notices:
        progress_console.print(Text("note", "bold yellow"), literal(notice))


def print_table(title: str, rows: Sequence[tuple[str, Cell]]) -> None:
    """Write name-value pairs as a table."""
    result_console.print(table_of(title, rows))


def table_of(title: str, rows: Sequence[tuple[str, Cell]]) -> Table:
    """Return name-value pairs as a table."""
    table = Table("", "", title=escape(visible(title)), show_header=False, title_justify="left")
    for column in table.columns:
        column.overflow = "fold"  # digests and paths stay whole
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(content: Cell) -> Text:
    return literal(content) if isinstance(content, str) else content


def print_findings(title: str, findings: Iterable[SetupFinding]) -> None:
    """Write what checks found as a table: what is good, and what is wrong and how to mend it."""
    rows = [
        (found.subject, Text.assemble(("ok", "green"), " ", literal(found.fact)))
        if found.error is None
        else (found.subject, Text.assemble((found.error.reason, "bold red"), " ", literal(str(found.error))))
        for found in findings
    ]
    print_table(title, rows)


def print_grid(title: str, headings: list[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> None:
    """Write a table of many columns, all but the first of them numbers."""
    table = Table(
        title=escape(visible(title)),
        caption=escape(visible(caption)),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for number, heading in enumerate(headings):
        table.add_column(escape(visible(heading)), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    result_console.print(table)


def command(body: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Make errors of ``body`` short and typed: message and exit code, or a JSON object with ``--json``.

    SIGTERM and SIGHUP end it as an exit does, so that files half-written, shares, keys and processes go.
    """

    @functools.wraps(body)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            with _signals_exit(), _missing_extras():
                body(*args, **kwargs)
        except MpcvitError as error:
            _fail(error, bool(kwargs.get("json_output")))
        except Exception as error:
            why = storage_error(error)
            if why is None:
                raise
            name = getattr(error, "filename", None)
            typed = ConfigError(
                f"{name}: {why}" if name else why,
                expected="files that can be read and written",
                remedy="See to permissions and free space, or choose another place.",
            )
            typed.__cause__ = error
            _fail(typed, bool(kwargs.get("json_output")))

    return run


def error_object(error: MpcvitError) -> dict[str, Any]:
    """Return ``error`` as machines get it; ``retry_after_s`` is null where a new session would fail again."""
    fields = ("reason", "got", "expected", "remedy", "origin", "session_id", "phase", "retry_after_s")
    return {"error": {field: getattr(error, field) for field in fields}}


def _fail(error: MpcvitError, json_output: bool) -> NoReturn:
    """Print ``error`` and end the command with its exit code."""
    if json_output:
        print_json(error_object(error))
    else:
        progress_console.print(Text(error.reason, "bold red"), literal(str(error)))
        progress_console.print(f"[dim]More: mpcvit explain {error.reason}[/]", highlight=False)
    raise typer.Exit(error.exit_code) from error


def engine_override(engine: str, parties: int) -> dict[str, str]:
    """Return the configuration entry for ``--engine``; empty for the default.

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
def _signals_exit() -> Iterator[None]:
    """Turn the first SIGTERM or SIGHUP into SystemExit with the shell's status for it; more of them change nothing."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has one
    asked = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]  # nohup ignores SIGHUP

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        for one in asked:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        asked = []
    for number in asked:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in asked:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _missing_extras() -> Iterator[None]:
    """Let an import that fails for want of an extra say which."""
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
    """Return the bytes as MB with two digits (10^6)."""
    return f"{count / 1e6:.2f} MB"
