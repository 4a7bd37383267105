"""A report's files, all of them written whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import mpcvit
from mpcvit.measure.record import Measured
from mpcvit.store.whole_file import whole_file, write_whole


def write_files(folder: Path, name: str, models: Sequence[Measured], picture: bytes, page: str) -> None:
    """Write a report on ``models`` into ``folder``: NAME.json, NAME.png and NAME.html."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"version": mpcvit.__version__, "models": [asdict(model) for model in models]}
    write_whole(folder / f"{name}.json", json.dumps(document, indent=1) + "\n")
    with whole_file(folder / f"{name}.png") as partial:
        partial.write_bytes(picture)
    write_whole(folder / f"{name}.html", page)
