"""``mpcvit explain``: what an error's code means, and what to do."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.markdown import Markdown

from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.errors import InputError

_INSTALLED = Path(__file__).with_name("errors")
#: One page per code: in an installed package, or else in the repository.
PAGES = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "docs" / "errors"
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class ErrorPage:
    """What is known about one code.

    Attributes:
        reason: the code, e.g. ``PEER_LOST``.
        meaning: what happened.
        exit_code, status: of the command line and of gRPC.
        retry: whether trying again helps; begins with ``Yes`` or ``No``.
        causes, remedies: the usual causes, and what to do.
    """

    reason: str
    meaning: str
    exit_code: int
    status: str
    retry: str
    causes: list[str]
    remedies: list[str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the content of a page of ``docs/errors``."""
        head, causes, remedies = re.split(r"^## .*\n", _LINK.sub(r"\1", path.read_text()), flags=re.MULTILINE)
        facts = dict(re.findall(r"^\| (\w[^|]*) \| ([^|]*) \|$", head, flags=re.MULTILINE))
        return cls(
            reason=path.stem,
            meaning=head.split("\n\n")[1],
            exit_code=int(facts["exit code"]),
            status=facts["gRPC status"],
            retry=facts["does a retry help?"],
            causes=re.findall(r"^- (.*)$", causes, flags=re.MULTILINE),
            remedies=re.findall(r"^- (.*)$", remedies, flags=re.MULTILINE),
        )


def codes() -> list[str]:
    """Return every code that has a page."""
    return sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")


@command
def explain(
    code: Annotated[str, typer.Argument(help="An error's code, e.g. PEER_LOST; without it, all codes.")] = "",
    json_output: Json = False,
) -> None:
    """Say what an error means, what causes it, what to do, and whether a retry helps."""
    if not code:
        pages = [ErrorPage.read(PAGES / f"{name}.md") for name in codes()]
        if json_output:
            print_json({"errors": [asdict(page) for page in pages]})
        else:
            print_table("error codes", [(page.reason, page.meaning.partition(". ")[0]) for page in pages])
        return
    path = _page(code)
    if json_output:
        print_json(asdict(ErrorPage.read(path)))
    else:
        Console().print(Markdown(_LINK.sub(r"\1", path.read_text())))


def _page(code: str) -> Path:
    known = codes()
    name = code.strip().upper().replace("-", "_")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known
        raise InputError(
            f"'{code}', which is no error's code",
            expected=f"one such as {', '.join(near[:3])}",
            remedy="Copy the code from the beginning of the message; 'mpcvit explain' lists all.",
        )
    return PAGES / f"{name}.md"
