"""What commands print is text, whatever names of files and labels hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.cli.output import print_grid, print_notices, print_table, visible

#: Rich's markup, a closing tag without an opening one, which is an error of its, and a terminal's command.
NASTY = "[bold]x[/] [/y] \x1b[31mz\x07"
SHOWN = "[bold]x[/] [/y] ?[31mz?"


def test_tables_and_notes_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are brackets, and what does not print is a question mark."""
    assert visible(NASTY + "\n\udcff") == SHOWN + "\n?"
    print_table(NASTY, [(NASTY, NASTY)])
    print_grid(NASTY, ["a", NASTY.replace("\x1b", "").replace("\x07", "")], [[NASTY, NASTY]], NASTY)
    print_notices([NASTY])
    printed = capsys.readouterr()
    assert printed.out.count(SHOWN) == 3 + 4
    assert printed.err.count(SHOWN) == 1
    assert "\x1b[31m" not in printed.out + printed.err


@pytest.mark.parametrize("name", ["a[/b]", "[bold]", "[2024] \x1b[31m"])
def test_folders_may_have_any_name(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    """Commands work in them, and name them as they are."""
    out = tmp_path / name
    run = CliRunner().invoke(app, ["provision", str(out)])
    assert run.exit_code == 0, run.output
    assert (out / "ca.crt").exists()
    run = CliRunner().invoke(app, ["model", "share", str(tiny_folder), "--out", str(out / "shares")])
    assert run.exit_code == 0, run.output
    assert visible(name) in "".join(run.output.split("\n")) or len(str(out)) > 60
    (out / "data/test/a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(out / "data/test/a/0.png")
    (out / "data/test/a/1.png").write_text("no picture")
    command = ["eval", "--model", str(tiny_folder), "--data", str(out / "data"), "--executor", "float"]
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 4, failed.output
    assert "\x1b[31m" not in failed.output
    assert str(out) in json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["error"]["got"]
