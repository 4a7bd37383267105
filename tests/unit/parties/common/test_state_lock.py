"""One process for each state folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpcvit.errors import (
    ConfigError,
)
from parties.common.state_lock import lock_state


def test_a_state_folder_serves_one_process(tmp_path: Path) -> None:
    """A second one is refused while the first has it; afterwards it is free. A file in its place is named."""
    with (
        lock_state(tmp_path / "state"),
        pytest.raises(ConfigError, match=r"state folder .*state, which another process uses"),
    ):
        lock_state(tmp_path / "state")
    lock_state(tmp_path / "state").close()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="File exists"):
        lock_state(tmp_path / "file")
