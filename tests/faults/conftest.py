"""Faults are put into a deployment that tests share; after each one it must be as good as before."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpcvit.errors import MpcvitError
from tests.support.deployment import THREADS, Deployment, Usage
from tests.support.reliability import Case
from tests.support.tcp_proxy import TcpProxy

_CASE = pytest.StashKey[Case]()
_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, and leave the scan of all output to the end."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("faults")
            if "own_deployment" in getattr(item, "fixturenames", ()):  # it takes its time to start
                item.add_marker("long")
            # Python's own: a TLS socket that is reset while it is made is closed by whoever collects it
            item.add_marker(pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning"))
    items.sort(key=lambda item: item.path.name == "test_leaks.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write down how a test with a case ended, its teardown included."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    if report.failed and call.excinfo is not None and (case := item.stash.get(_CASE, None)) is not None:
        case.saw(f"{call.excinfo.typename}: {str(call.excinfo.value)[:200]}")
    if report.when == "teardown" and (case := item.stash.get(_CASE, None)) is not None:
        if not case.seen or item.stash[_FAILED]:
            case.verdict = "FAIL" if item.stash[_FAILED] else "not run"
        else:
            case.verdict = "late" if case.late else "pass"
        case.write(re.sub(r"[^\w+-]+", "-", f"{item.path.stem}-{item.name}".replace("test_", "")).strip("-"))
    return report


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """The test's row of the table, from ``@pytest.mark.case(number, inject, expected)``."""
    number, inject, expected = request.node.get_closest_marker("case").args
    if hasattr(request.node, "callspec") and (variant := request.node.callspec.id):
        inject = f"{inject}: {variant}"
    made = request.node.stash[_CASE] = Case(str(number), inject, expected)
    start = time.monotonic()
    yield made
    made.seconds = time.monotonic() - start


@pytest.fixture(scope="session")
def proxy() -> Iterator[TcpProxy]:
    """One proxy for all links of all deployments."""
    with TcpProxy() as running:
        yield running


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all that any role printed is kept until it is searched for secrets."""
    return tmp_path_factory.mktemp("outputs")


class Keeper:
    """The shared deployment; one that a test left broken is replaced."""

    def __init__(self, model: Path, folders: pytest.TempPathFactory, proxy: TcpProxy, outputs: Path) -> None:
        self._model, self._folders, self._proxy, self._outputs = model, folders, proxy, outputs
        self._running: Deployment | None = None

    def get(self) -> Deployment:
        """A deployment that works."""
        if self._running is None:
            self._running = Deployment(self._model, self._folders.mktemp("shared"), self._proxy)
            self._running.__enter__()
        return self._running

    def discard(self) -> None:
        """Stop it, and keep what it printed."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            keep_output(self._running, self._outputs)
            self._running = None


def keep_output(deployment: Deployment, outputs: Path) -> None:
    """Copy what the roles of ``deployment`` printed, and the last metrics."""
    target = outputs / f"{deployment.folder.name}-{len(list(outputs.iterdir()))}"
    target.mkdir()
    for log in deployment.folder.glob("*.log"):
        shutil.copy(log, target)


@pytest.fixture(scope="session")
def _keeper(
    tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, proxy: TcpProxy, outputs: Path
) -> Iterator[Keeper]:
    keeper = Keeper(tiny_folder, tmp_path_factory, proxy, outputs)
    yield keeper
    keeper.discard()


@pytest.fixture
def deployment(_keeper: Keeper, case: Case, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """The shared deployment; once the test is over every fault ends, and the invariants must hold."""
    running = _keeper.get()
    before = running.usage()
    try:
        yield running
        if not request.node.stash.get(_FAILED, False):
            hold_invariants(running, before, case)
        else:
            _keeper.discard()
    except (AssertionError, MpcvitError, OSError):
        _keeper.discard()
        raise


@pytest.fixture
def own_deployment(
    tiny_folder: Path, tmp_path: Path, proxy: TcpProxy, outputs: Path, case: Case, request: pytest.FixtureRequest
) -> Iterator[Deployment]:
    """A deployment for one test that does to it what does not heal; the invariants must hold all the same."""
    with Deployment(tiny_folder, tmp_path / "own", proxy) as running:
        before = running.usage()
        yield running
        if not request.node.stash.get(_FAILED, False):
            hold_invariants(running, before, case)
    keep_output(running, outputs)


def hold_invariants(running: Deployment, before: dict[str, Usage], case: Case, threads: int = THREADS) -> None:
    """Require I2 to I5 (I1 is each attempt's own)."""
    running.recover()
    outcome = running.require_recovery()
    case.saw(f"next answer in {outcome.seconds:.1f} s")
    running.require_single_use()
    if running.require_audit() < len(running.cluster.roles):
        case.saw("audit logs are missing")
    running.require_no_leak(before, threads)
    for role in running.cluster.roles:
        (running.folder / f"{role}.metrics.log").write_text(running.metrics(role))
