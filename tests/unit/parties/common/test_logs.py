"""What services log: in which form, with which fields, and what never."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from parties.common.logs import set_up_logs

log = logging.getLogger("mpcvit.test_logs")


class Terminal(io.StringIO):
    """A stream that people read."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Put logging back as it was."""
    root, ours = logging.getLogger(), logging.getLogger("mpcvit")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    handler, hook = signal.getsignal(signal.SIGUSR1), threading.excepthook
    root.handlers = []  # pytest's own would be closed
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    signal.signal(signal.SIGUSR1, handler)
    threading.excepthook = hook


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_machines_get_json_with_role_session_and_fields() -> None:
    stream = io.StringIO()
    set_up_logs("party0", "info", stream)
    with structlog.contextvars.bound_contextvars(session="ab12"):
        log.info("did %s", "it", extra={"rounds": 3})
    (line,) = _lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "role": "party0",
        "session": "ab12",
        "event": "did it",
        "rounds": 3,
        "level": "info",
        "logger": "mpcvit.test_logs",
    }


def test_people_get_text_in_which_nothing_moves_the_cursor_or_forges_a_line() -> None:
    stream = Terminal()
    set_up_logs("dealer", "info", stream)
    log.info("client %s", "x\x1b[2J\nfake", extra={"model": "y\nz"})
    (line,) = stream.getvalue().splitlines()
    assert r"client x\x1b[2J\nfake" in line
    assert r"y\nz" in line
    assert "dealer" in line


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "text"])
def test_exceptions_are_logged_without_their_text(stream: io.StringIO) -> None:
    """Ours, those of libraries, which repeat the text in the message, and those that end a thread."""
    secret = str(7**20)  # computed, as the log quotes source lines
    set_up_logs("party0", "info", stream)

    def fail() -> None:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(secret) from error

    for name in ("mpcvit.test_logs", "grpc._server"):
        try:
            fail()
        except ValueError as error:
            text = str(error) if name.startswith("grpc") else "ours"
            logging.getLogger(name).exception("failed: %s", text)
    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    said = stream.getvalue()
    assert secret not in said
    assert said.count("KeyError") >= 3
    assert "ValueError in grpc._server" in said
    assert "thread worker died" in said
    assert "in fail" in said


def test_the_level_is_the_configured_one_until_a_signal_turns_debugging_on() -> None:
    """And off again. Libraries stay silent below warnings."""
    stream = io.StringIO()
    set_up_logs("party0", "warning", stream)
    log.info("not yet")
    os.kill(os.getpid(), signal.SIGUSR1)
    log.debug("now")
    logging.getLogger("numba").debug("too much")
    os.kill(os.getpid(), signal.SIGUSR1)
    log.info("no more")
    log.warning("always")
    assert [line["event"] for line in _lines(stream)] == ["now", "always"]
