"""``mpcvit config``: every wrong key is named where it stands, and the published schemas are those of the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mpcvit.cli.config import ConfigRole
from mpcvit.cli.main import app
from mpcvit.yaml_document import YamlDocument
from parties.local.provision import provision_local

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = {"party0": "party", "party1": "party", "dealer": "dealer", "client": "client"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example configurations, with certificates beside them."""
    provision_local(tmp_path / "tls", ["party0", "party1", "dealer", "demo.client"])
    for name in EXAMPLES:
        (tmp_path / f"{name}.yaml").write_text((ROOT / "deploy/config" / f"{name}.yaml").read_text())
    return tmp_path


def _validate(path: Path, *options: str, code: int) -> dict[str, Any]:
    run = CliRunner().invoke(app, ["config", "validate", str(path), "--json", *options])
    assert run.exit_code == code, run.output
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_valid_and_their_role_is_guessed(folder: Path, name: str) -> None:
    found = _validate(folder / f"{name}.yaml", code=0)
    assert found["ok"]
    assert found["role"] == EXAMPLES[name]
    assert not found["notices"]
    assert "good" in CliRunner().invoke(app, ["config", "validate", str(folder / f"{name}.yaml")]).stdout


WRONG = {
    "a port that no machine has": ("dealer: dealer:8445", "dealer: dealer:99999", "dealer", "port from 1 to 65535"),
    "no port": ("dealer: dealer:8445", "dealer: dealer", "dealer", "is no host:port"),
    "client port as peer port": ("peer: 0.0.0.0:8444", "peer: 127.0.0.1:8443", "listen", "are one port"),
    "itself as its peer": ("1: party1:8444", "1: localhost:8444", "", "itself listens on"),
    "itself as its dealer": ("dealer: dealer:8445", "dealer: localhost:8443", "", "itself listens on"),
    "a misspelt key": ("state: /var", "stat: /var", "stat", "did you mean 'state'?"),
    "a misspelt key of a section": ("health: 127", "helth: 127", "listen.helth", "did you mean 'health'?"),
    "another role's certificate": ("cert: tls/party0.crt", "cert: tls/party1.crt", "tls", "for the role party1"),
    "key of another certificate": ("key: tls/party0.key", "key: tls/dealer.key", "tls", "which is not the key of"),
    "another party's number": ("index: 0", "index: 2", "", "party 2 of 2 needs peers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_work_is_refused_with_its_cause(folder: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line on which it stands, if it is about one key or section."""
    old, new, key, words = WRONG[case]
    path = folder / "party0.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    problems = _validate(path, code=4)["problems"]
    (problem,) = [one for one in problems if words in one["problem"]]
    assert problem["key"] == key
    if key:
        line = int(problem["where"].removeprefix(f"{path}:"))
        names = yaml.safe_load(path.read_text()), path.read_text().splitlines()[line - 1]
        assert key.split(".")[0] in names[0]
        assert names[1].split(":")[0].strip() in (key.split(".")[-1], "cert")
    monkeypatch.chdir(folder)  # a long path would leave the problem's column little room
    assert words in " ".join(CliRunner().invoke(app, ["config", "validate", path.name]).stdout.split())


def test_all_problems_are_named_at_once(folder: Path) -> None:
    path = folder / "party0.yaml"
    path.write_text(path.read_text().replace("state:", "stat:").replace("dealer:8445", "dealer"))
    assert {one["key"] for one in _validate(path, code=4)["problems"]} == {"stat", "state", "dealer"}


def test_a_variable_is_blamed_for_its_value(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the file is not."""
    monkeypatch.setenv("MPCVIT_PARTIES", "party0:8443,party1:8443")
    (problem,) = _validate(folder / "client.yaml", code=4)["problems"]
    assert problem["where"] == "the environment variable MPCVIT_PARTIES"
    assert "JSON" in problem["problem"]


def test_a_misspelt_variable_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be ignored silently; variables of other kinds are let be."""
    monkeypatch.setenv("MPCVIT_LIMIT__SESSIONS", "3")
    monkeypatch.setenv("MPCVIT_LIMITS__QUEUE", "3")
    monkeypatch.setenv("MPCVIT_FAILPOINTS", "x")
    (notice,) = _validate(folder / "party0.yaml", code=0)["notices"]
    assert notice == (
        "the environment variable MPCVIT_LIMIT__SESSIONS is not read; did you mean MPCVIT_LIMITS__SESSIONS?"
    )


def test_files_of_other_machines_are_noticed_and_not_checked(folder: Path) -> None:
    """The role of the certificate is, without its key."""
    (folder / "tls/party0.key").unlink()
    assert "tls.key was not checked" in _validate(folder / "party0.yaml", code=0)["notices"][0]
    (folder / "tls/party0.crt").write_bytes((folder / "tls/dealer.crt").read_bytes())
    assert "for the role dealer" in _validate(folder / "party0.yaml", code=4)["problems"][0]["problem"]


def test_a_role_that_is_given_is_not_guessed(folder: Path) -> None:
    keys = {one["key"] for one in _validate(folder / "client.yaml", "--role", "dealer", code=4)["problems"]}
    assert keys == {"parties", "listen", "programs", "state"}


def test_a_role_is_guessed_in_spite_of_mistakes(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("listen: {}\ntls: {}\nprogram: []\nstate: x\n")
    assert ConfigRole.guess(YamlDocument.read(tmp_path / "x.yaml")) is ConfigRole.DEALER


@pytest.mark.parametrize(
    ("text", "words"), [("a: [\n", ":2: "), ("- 1\n", "no mapping"), ("a: 1\na: 2\n", "x.yaml:2: the key 'a'")]
)
def test_what_is_no_yaml_is_a_typed_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    error = _validate(tmp_path / "x.yaml", code=4)["error"]
    assert error["reason"] == "CONFIG"
    assert words in error["got"]


@pytest.mark.parametrize("role", list(ConfigRole))
def test_published_schemas_are_those_of_the_code(role: ConfigRole) -> None:
    """``make schemas`` writes them."""
    run = CliRunner().invoke(app, ["config", "schema", role])
    assert run.exit_code == 0, run.output
    assert run.stdout == (ROOT / "docs/schemas" / f"{role}.json").read_text()


@pytest.mark.parametrize("role", list(ConfigRole))
def test_schemas_describe_every_key(role: ConfigRole) -> None:
    """Keys that are sections may leave it to the section."""
    schema = json.loads((ROOT / "docs/schemas" / f"{role}.json").read_text())
    parts = [part for one in schema["$defs"].values() for part in one.get("anyOf", [one]) if "properties" in part]
    for part in [schema, *parts]:
        sections = [key for key, value in part["properties"].items() if "$ref" not in value]
        missing = [key for key in sections if not part["properties"][key].get("description")]
        assert not missing or part["title"].endswith("Listen"), missing
