"""The pages of docs/adr/ have one form, and the index lists them as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "adr"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
FORM = re.compile(
    r"# (?P<number>\d+)\. (?P<title>\S.*)\n\n"
    r"- Status: (?P<status>accepted|(?:partly )?superseded by \[(?P<successor>\d+)\]\((?P<file>[\w-]+\.md)\))\n"
    r"- Date: \d{4}-\d{2}-\d{2}\n"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_common_form(page: Path) -> None:
    """A title with the file's number, a status, a date, then context, decision and consequences in this order."""
    text = page.read_text()
    head = FORM.match(text)
    assert head is not None
    assert page.name.startswith(f"{int(head['number']):04d}-")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[:3] == ["Context", "Decision", "Consequences"]
    assert headings[3:] in ([], ["Alternatives"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_successor_is_later_and_exists(page: Path) -> None:
    """A superseded page names the page that took its place, by its number and its file."""
    head = FORM.match(page.read_text())
    assert head is not None
    if head["successor"]:
        assert int(head["successor"]) > int(head["number"])
        assert head["file"].startswith(f"{int(head['successor']):04d}-")
        assert (FOLDER / head["file"]).is_file()


def test_numbers_have_no_gap() -> None:
    """Pages are numbered from 1 on."""
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_the_index_lists_every_page() -> None:
    """docs/adr/README.md has one row per page, with its title and status."""
    index = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \[(.*)\]\((.*)\) \| (.*) \|$", index, flags=re.MULTILINE)
    heads = [(page, FORM.match(page.read_text())) for page in PAGES]
    assert rows == [(head["number"], head["title"], page.name, head["status"]) for page, head in heads if head]
