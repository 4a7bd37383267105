"""docs/seeds.md: a row per system, with commands and tests that exist."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from mpcvit import zoo
from mpcvit.cli.main import app
from mpcvit.compress.passes import PASSES
from mpcvit.quantize.config import Method
from mpcvit.search.presets import PRESETS
from mpcvit.train.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "seeds.md").read_text()
_NONE = "none"


@dataclass(frozen=True)
class Row:
    """A row of the page."""

    number: int
    system: str
    what: str
    runs: str
    command: str
    test: str
    measured: str
    left: str


def _rows() -> list[Row]:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [Row(int(number), *rest) for number, *rest in cells]


ROWS = _rows()
RUNNING = [row for row in ROWS if row.runs != "no"]


def _command(row: Row) -> list[str]:
    assert re.fullmatch(r"`mpcvit [^`]+`", row.command), row
    return shlex.split(row.command.strip("`"))[1:]


@cache
def _tests(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_system_has_a_row() -> None:
    """64, in order, none twice."""
    assert [row.number for row in ROWS] == list(range(1, 65))
    assert len({row.system for row in ROWS}) == 64


def test_the_page_counts_its_rows() -> None:
    """The numbers at its top are those of the table."""
    whole = sum(row.runs == "yes" for row in ROWS)
    assert f"**{len(RUNNING)} of 64 run**, {whole} of them as a whole: " in PAGE
    assert f". {64 - len(RUNNING)} do not run." in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_rows_say_what_runs(row: Row) -> None:
    """What runs has a command and a test, what does not has neither; what is missing is said."""
    assert row.runs in {"yes", "part", "no"}
    assert (row.command == _NONE) == (row.test == _NONE) == (row.runs == "no")
    assert row.runs == "yes" or row.left != _NONE
    assert row.what
    assert row.measured


@pytest.mark.parametrize("row", RUNNING, ids=lambda row: str(row.number))
def test_named_tests_exist(row: Row) -> None:
    """In the file that is named."""
    file, _, name = row.test.strip("`").partition("::")
    assert name.startswith("test_")
    assert name in _tests(file)


@cache
def _root() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize("row", RUNNING, ids=lambda row: str(row.number))
def test_commands_can_be_typed(row: Row) -> None:
    """Their subcommands and options exist, and so do the modules, passes, recipes and models that they name."""
    words, found = _command(row), _root()
    while commands := getattr(found, "commands", None):
        assert words[0] in commands
        found = commands[words.pop(0)]
    options = {name: option for option in found.params for name in option.opts}
    arguments = [one.name for one in found.params if one.param_type_name == "argument"]
    remaining, plain = iter(words), list[str]()
    parsed: dict[str, str] = {}
    for word in remaining:
        if word.startswith("--"):
            assert word in options
            parsed[options[word].name] = word if options[word].is_flag else next(remaining)
        else:
            plain.append(word)
    parsed |= dict(zip(arguments, plain, strict=False))
    assert not [one.name for one in found.params if one.required and one.name not in parsed]
    _check_names(found.name, parsed, plain)


def _check_names(command: str, parsed: dict[str, str], plain: list[str]) -> None:
    if "module" in parsed:
        module, _, factory = parsed["module"].partition(":")
        assert factory in _tests(f"{module.replace('.', '/')}.py")
    if command == "compress":  # [TRAINED] PASS [SETTING=VALUE]...
        trained, name, *_ = plain
        assert name in PASSES
        parsed["trained"] = trained
    known = {
        "train": ("recipe", RECIPES),
        "search": ("preset", PRESETS),
        "quantize": ("method", list(Method)),
    }
    if command in known:
        field, names = known[command]
        assert parsed[field] in names
    if command in {"compress", "quantize"}:
        assert (zoo.folder(Path(parsed["trained"])) / "config.json").exists()
