"""The temporary folder of a local cluster, of which logs outlive a failure."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpcvit.errors import MpcvitError


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield a fresh folder that is deleted at the end.

    After an error the logs in it, ``*.log``, stay where they are, and the error's remedy says where; shares, keys and
    ledgers go.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    except Exception as error:
        if _leave_logs(folder):
            kept = f"The logs of all processes are in {folder}."
            if isinstance(error, MpcvitError):
                error.remedy = f"{error.remedy} {kept}"
            else:
                error.add_note(kept)
        raise
    except BaseException:  # the user's Ctrl-C
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _leave_logs(folder: Path) -> bool:
    """Delete all but logs that say something; whether there are any. Without one, the folder goes, too."""
    logs = {path for path in folder.glob("*.log") if path.stat().st_size}
    for path in set(folder.iterdir()) - logs:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not logs:
        folder.rmdir()
    return bool(logs)
