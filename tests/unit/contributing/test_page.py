"""CONTRIBUTING.md lists few files per part, in folders that there are; the toy tests beside this one add just these."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.contributing import files_to_touch, parts

ROOT = Path(__file__).resolve().parents[3]
#: How many files a part may touch.
MOST = {
    "A linear op": 1,
    "An op with a protocol": 3,
    "An attention kind": 3,
    "A backbone": 3,
    "A quantization method": 2,
    "A compression pass": 2,
}


def test_the_page_has_a_list_for_every_kind_of_part() -> None:
    """Those that the toy tests add."""
    assert set(parts()) == set(MOST)


@pytest.mark.parametrize("part", MOST)
def test_a_list_is_short_and_its_folders_exist(part: str) -> None:
    """The new part's modules go into packages that there are, the other files are there."""
    files = files_to_touch(part)
    assert 1 <= len(files) <= MOST[part]
    for file in files:
        there = ROOT / file if "NAME" not in file else (ROOT / file).parent / "__init__.py"
        assert there.is_file(), file
