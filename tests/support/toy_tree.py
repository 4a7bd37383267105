"""A copy of the package in which a test adds what a contributor would add, and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ToyTree:
    """The sources of ``mpcvit`` and ``parties`` in a folder of their own, without the shipped models.

    Attributes:
        root: the folder.
        touched: the files that were added or changed, relative to the root, in order.
    """

    root: Path
    touched: list[str] = field(default_factory=list)

    @classmethod
    def copied_to(cls, root: Path) -> ToyTree:
        """A fresh copy. Compiled functions travel along, so that scripts start quickly."""
        for package in ("mpcvit", "parties"):
            shutil.copytree(ROOT / package, root / package, ignore=_shipped_models)
        return cls(root)

    def add(self, path: str, text: str) -> None:
        """Write a new file."""
        assert not (self.root / path).exists(), f"{path} is there already"
        self._write(path, text)

    def change(self, path: str, old: str, new: str) -> None:
        """Replace the only occurrence of ``old`` in a file."""
        before = (self.root / path).read_text()
        assert before.count(old) == 1, f"{before.count(old)} times in {path}: {old}"
        self._write(path, before.replace(old, new))

    def run(self, script: str) -> str:
        """What a Python script prints that imports the copy; its last line is the test's to check."""
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path not in self.touched:
            self.touched.append(path)


def _shipped_models(folder: str, names: list[str]) -> list[str]:
    return ["models"] if Path(folder).name == "zoo" else []
