"""The committed stubs are what protos/ gives."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="needs the dev extra")

import generate

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("package", generate.PACKAGES.values())
def test_stubs_are_up_to_date(package: str, tmp_path: Path) -> None:
    """Regenerating changes nothing; if this fails, run ``make protos``."""
    generate.main(tmp_path)
    folder = package.replace(".", "/")
    committed = {path.name: path.read_text() for path in (ROOT / folder).glob("*.py*")}
    assert {path.name: path.read_text() for path in (tmp_path / folder).glob("*.py*")} == committed


def test_every_proto_has_a_package_for_its_stubs() -> None:
    """A folder that is not listed would be left out without a word."""
    folders = {str(path.parent.relative_to(generate.PROTOS)) for path in generate.PROTOS.rglob("*.proto")}
    assert folders == set(generate.PACKAGES)
