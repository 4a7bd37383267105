"""The folder that a command writes to: made before the work begins, so that nothing is lost for want of one."""

from __future__ import annotations

from pathlib import Path

from mpcvit.errors import ConfigError


def make_folder(out: Path) -> None:
    """Make ``out`` and what it lies in, unless it is there.

    Raises:
        ConfigError: it cannot be made: a file of that name, or no permission.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: {error.strerror}",
            expected="a folder, or a name for a new one",
            remedy="Correct --out.",
        ) from error
