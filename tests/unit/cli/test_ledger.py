"""``mpcvit ledger``: an operator sees what was refused, and accepts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.errors import LedgerRolledBack
from parties.common.ledger import Ledger

ROOT = Path(__file__).resolve().parents[3]


def _run(*words: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, ["ledger", *words, "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The example configuration of party 0, with a state folder of its own."""
    text = (ROOT / "deploy/config/party0.yaml").read_text().replace("/var/lib/mpcvit", "state")
    (tmp_path / "party0.yaml").write_text(text)
    return str(tmp_path / "party0.yaml")


def test_a_replaced_ledger_is_shown_and_accepted(config: str, tmp_path: Path) -> None:
    """While the role runs, and heeded by it at once."""
    ours, theirs = Ledger(tmp_path / "state"), Ledger(tmp_path / "party1")
    ours.burn("one")
    ours.remember("party1", theirs.mark())
    first = theirs.mark().ledger_id.hex()
    shutil.rmtree(tmp_path / "party1")
    theirs = Ledger(tmp_path / "party1")
    second = theirs.mark().ledger_id.hex()
    with pytest.raises(LedgerRolledBack):
        ours.remember("party1", theirs.mark())
    code, shown = _run("show", "--config", config)
    refused = {"ledger_id": second, "used_ids": 0}
    assert (code, shown["used_ids"], shown["ledger_id"]) == (0, 1, ours.mark().ledger_id.hex())
    assert shown["others"] == {"party1": {"ledger_id": first, "used_ids": 0, "refused": refused}}
    assert second in CliRunner().invoke(app, ["ledger", "show", "--config", config]).stdout
    code, accepted = _run("accept", "party1", "--config", config)
    assert (code, accepted) == (0, {"accepted": {"party1": {"ledger_id": second, "used_ids": 0, "refused": None}}})
    ours.remember("party1", theirs.mark())
    assert ours.state("one") == "open"  # no look marks it as crashed
    code, refusal = _run("accept", "party1", "--config", config)
    assert (code, refusal["error"]["got"]) == (4, "nothing to accept from 'party1'")


def test_looking_makes_no_ledger(config: str, tmp_path: Path) -> None:
    """A wrong folder is an error, not an empty ledger."""
    code, error = _run("show", "--config", config)
    assert code == 4
    assert "no ledger in" in error["error"]["got"]
    assert not (tmp_path / "state").exists()
    client = str(ROOT / "deploy/config/client.yaml")
    code, error = _run("show", "--config", client)
    assert (code, error["error"]["got"]) == (4, f"{client}, the configuration of a client")
