"""What docs/ says about the code is what the code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest
from pydantic import BaseModel

from mpcvit.config_file import without_none
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.protocol import Protocol
from mpcvit.export.vit import Exported
from mpcvit.fss import compare, dcf, onehot
from parties.common.settings import DealerSettings, PartySettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROTOCOLS = (DOCS / "protocols.md").read_text()


@pytest.fixture(scope="module")
def cost_page() -> ModuleType:
    """benchmarks/cost_page.py."""
    spec = importlib.util.spec_from_file_location("cost_page", ROOT / "benchmarks" / "cost_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository, and a heading of it."""
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def _files(page: Path) -> Iterator[str]:
    """The names of Python files in ``page``, one for each alternative in braces."""
    for name in re.findall(r"`([\w./*{},-]+/[\w.*{},-]+\.py)`", page.read_text()):
        before, _, rest = name.partition("{")
        inside, _, after = rest.partition("}")
        yield from (before + choice + after for choice in inside.split(","))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_files_are_where_pages_say(page: Path) -> None:
    """Every Python file that a page names is there, from the root or from mpcvit/; ``*`` stands for some."""
    files = set(_files(page))
    assert not [name for name in files if not any(ROOT.glob(name)) and not any((ROOT / "mpcvit").glob(name))]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_names_are_those_of_the_code(page: Path) -> None:
    """Every dotted name of the package that a page uses is a module, or something in one."""
    names = set(re.findall(r"`(mpcvit(?:\.\w+)+)`", page.read_text())) - {"mpcvit.v1"}  # the services' protobuf package
    assert not [name for name in names if not _exists(name)]


def _exists(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        owner, _, attribute = name.rpartition(".")  # a field without default is no attribute of its class
        try:
            return attribute in getattr(resolve_name(owner), "__dataclass_fields__", ())
        except (ImportError, AttributeError):
            return False
    return True


def test_every_package_is_listed() -> None:
    """architecture.md has a row for every package, and rows for no others."""
    listed = set(re.findall(r"`((?:mpcvit|parties)/(?:[a-z0-9_]+/)*)`", (DOCS / "architecture.md").read_text()))
    packages = {path.parent for root in ("mpcvit", "parties") for path in (ROOT / root).rglob("__init__.py")}
    names = {f"{path.relative_to(ROOT)}/" for path in packages}
    assert names - listed <= {"mpcvit/"}
    assert listed <= names


def _protocols(base: type[Protocol] = Protocol) -> Iterator[type[Protocol]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("mpcvit.") and not kind.__abstractmethods__:
            yield kind
        yield from _protocols(kind)


def test_every_protocol_is_described_and_priced(cost_page: ModuleType) -> None:
    """protocols.md names every protocol, and the page of costs has a row for each."""
    kinds = set(_protocols())
    assert len(kinds) > 10
    assert not [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in PROTOCOLS]
    assert set(cost_page.KINDS) == kinds


def test_every_objective_is_described() -> None:
    """protocols.md and architecture.md name all objectives."""
    for page in (PROTOCOLS, (DOCS / "architecture.md").read_text()):
        assert not [name for name in OBJECTIVES if f"`{name}`" not in page]


def test_key_sizes_are_those_of_the_code() -> None:
    """Each row of the table of key sizes is what key_bytes and the one-hot tree say."""
    table = PROTOCOLS.partition("### Key sizes")[2].partition("\n#")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 5
    for row in rows:
        width, point, *compares = (int(cell) for cell in row[:5])
        assert point == compare.key_bytes(width)
        assert compares == [dcf.key_bytes(width, words) for words in (1, 2, 3)]
        for cell, block in zip(row[5:], (4, 8), strict=True):
            pairs = onehot.pairs_per_level(width, block)
            opened, products = sum(map(onehot.opened_bits, pairs)), sum(map(onehot.and_gates, pairs))
            expected = [onehot.key_bytes(width, block), len(pairs), opened, products]
            assert [int(number) for number in cell.split(",")] == expected


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = without_none(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("settings", [PartySettings, DealerSettings])
def test_every_configuration_key_is_described(settings: type[BaseModel]) -> None:
    """architecture.md has a row with every key of the configuration files."""
    page = (DOCS / "architecture.md").read_text()
    described = set(re.findall(r"`([a-z0-9_.<>]+)`", " ".join(re.findall(r"^\| (`[^|]*)\|", page, flags=re.MULTILINE))))
    described |= {key.removesuffix(".<number>") for key in described}
    assert not set(_keys(settings)) - described


def test_the_page_of_costs_adds_up(cost_page: ModuleType, tiny_exported: Exported) -> None:
    """The page has one row per plan, and the bytes of a plan's kinds of steps are its total but for the setup."""
    model = cost_page.PlannedModel.of("tiny", tiny_exported.program)
    page = cost_page.page([model], "a command")
    assert "    a command\n" in page
    assert {name for names in model.plans for name in names} == set(OBJECTIVES)
    for names, plan in model.plans.items():
        assert f"| fast | {', '.join(names)} |" in page
        cost = fast_cost(plan)
        sent = sum(part.bytes_sent[0] for _, _, part in cost_page.by_kind(plan))
        assert sent == cost.total.bytes_sent[0] - cost.setup.bytes_sent[0]
