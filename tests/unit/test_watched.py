"""Files that are read again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from mpcvit.watched import Watched


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _watched(path: Path, clock: Clock) -> Watched[str]:
    def read() -> str:
        text = path.read_text() if path.exists() else ""
        if text.startswith("bad"):
            raise ConfigError(f"{path}: {text}", expected="good content", remedy="Correct it.")
        return text

    return Watched([path], read, 10, clock)


def _replace(path: Path, text: str) -> None:
    """As careful writers do: another file takes the name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_new_content_is_in_force_after_the_interval(tmp_path: Path) -> None:
    """Not before: nobody wants a look at the disk with every call."""
    path, clock = tmp_path / "x", Clock()
    path.write_text("one")
    watched = _watched(path, clock)
    first = watched.value()
    _replace(path, "two")
    clock.now = 9
    assert watched.value() is first
    clock.now = 10
    assert watched.value() == "two"


def test_look_again_does_not_wait(tmp_path: Path) -> None:
    """What SIGHUP does."""
    path, clock = tmp_path / "x", Clock()
    path.write_text("one")
    watched = _watched(path, clock)
    _replace(path, "two")
    assert watched.value() == "one"
    watched.look_again()
    assert watched.value() == "two"


def test_broken_content_keeps_the_old_and_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the file; a later good file is taken."""
    path, clock = tmp_path / "x", Clock()
    path.write_text("one")
    watched = _watched(path, clock)
    _replace(path, "bad two")
    clock.now = 10
    with caplog.at_level(logging.WARNING, "mpcvit.watched"):
        assert watched.value() == "one"
    assert str(path) in caplog.text
    assert "old stays in force" in caplog.text
    _replace(path, "three")
    clock.now = 20
    assert watched.value() == "three"


def test_broken_content_at_the_start_is_an_error(tmp_path: Path) -> None:
    """There is nothing to go on with."""
    path = tmp_path / "x"
    path.write_text("bad")
    with pytest.raises(ConfigError, match="good content"):
        _watched(path, Clock())
