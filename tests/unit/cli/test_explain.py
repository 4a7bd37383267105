"""Every error has a page, every page an error, and what a page says of its error is so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpcvit.cli.explain import PAGES, ErrorPage, codes
from mpcvit.cli.main import app
from mpcvit.errors import MpcvitError, by_reason


def _reasons(root: type[MpcvitError] = MpcvitError) -> set[str]:
    return {root.reason}.union(
        *(_reasons(child) for child in root.__subclasses__() if child.__module__ == "mpcvit.errors")
    )


def test_every_reason_has_a_page_and_no_page_lacks_a_reason() -> None:
    assert set(codes()) == _reasons()


@pytest.mark.parametrize("code", codes())
def test_a_page_says_what_the_error_does(code: str) -> None:
    """Exit code, status and retry are those of the class; causes and remedies are there; the title is the code."""
    page, error = ErrorPage.read(PAGES / f"{code}.md"), by_reason(code)
    assert (page.exit_code, page.status) == (error.exit_code, error.status)
    assert page.retry.startswith("No" if error.retry_after_s is None else "Yes")
    assert page.meaning
    assert page.causes
    assert page.remedies
    assert (PAGES / f"{code}.md").read_text().startswith(f"# {code}\n")


def test_explain_prints_the_page() -> None:
    """As an object, and for people; capitals do not matter."""
    run = CliRunner().invoke(app, ["explain", "peer-lost", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["reason"] == "PEER_LOST"
    text = CliRunner().invoke(app, ["explain", "PEER_LOST"])
    assert text.exit_code == 0, text.output
    assert "What to do" in text.stdout
    assert ".md" not in text.stdout


def test_explain_lists_all_codes() -> None:
    run = CliRunner().invoke(app, ["explain", "--json"])
    assert [page["reason"] for page in json.loads(run.stdout)["errors"]] == codes()
    assert "OVERLOADED" in CliRunner().invoke(app, ["explain"]).stdout


def test_explain_suggests_the_code_that_was_meant() -> None:
    run = CliRunner().invoke(app, ["explain", "PEER_LSOT", "--json"])
    assert run.exit_code == 4
    assert "PEER_LOST" in json.loads(run.stdout)["error"]["expected"]


def test_errors_name_the_page(tmp_path: Path) -> None:
    """Below the message, for people."""
    run = CliRunner().invoke(app, ["infer", "x.png", "-c", str(tmp_path / "none.yaml")])
    assert run.exit_code == 4
    assert "mpcvit explain CONFIG" in run.stderr
