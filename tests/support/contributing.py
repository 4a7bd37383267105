"""CONTRIBUTING.md, as tests read it: which files a new part touches."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def parts() -> tuple[str, ...]:
    """Return the headings under "Add a part", e.g. ``A linear op``."""
    section = _PAGE.read_text().partition("\n## Add a part\n")[2].partition("\n## ")[0]
    return tuple(re.findall(r"^### (.*)$", section, flags=re.MULTILINE))


def files_to_touch(part: str, name: str = "NAME") -> tuple[str, ...]:
    """Return the files that the page lists for ``part``, a heading, with ``name`` as the new module's."""
    section = _PAGE.read_text().partition(f"\n### {part}\n")[2].partition("\n#")[0]
    return tuple(path.replace("NAME", name) for path in re.findall(r"^\* `([^`]+)`", section, flags=re.MULTILINE))
