"""One process at a time uses a state folder: two would burn session ids past each other."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from mpcvit.errors import ConfigError


def lock_state(folder: Path) -> IO[bytes]:
    """Claim ``folder`` for this process, for as long as the returned file is open; the system lets go of it after.

    Raises:
        ConfigError: another process uses the folder, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("ab")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ConfigError(
            f"state folder {folder}, which another process uses",
            expected="a folder of this process alone",
            remedy="Stop the other process, or correct 'state' in the configuration.",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"state folder {folder}: {error.strerror}",
            expected="a writable folder that survives restarts",
            remedy="Correct 'state' in the configuration, or free disk space.",
        ) from error
    return file
