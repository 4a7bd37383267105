"""What a run says about its epochs: a line in ``log.jsonl``, scalars for TensorBoard, a progress bar."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Line = dict[str, float]

LOG_FILE = "log.jsonl"


class Recorder:
    """The record of a run; a context manager.

    Args:
        folder: gets ``log.jsonl``, and ``tensorboard/`` where that package is installed.
        title: of the progress bar.
        done: epochs that earlier runs did.
        total: epochs in all.
        active: False in processes that say nothing.
    """

    def __init__(self, folder: Path, title: str, done: int, total: int, *, active: bool) -> None:
        self._folder = folder
        self._active = active
        self._done = done
        self._stack = ExitStack()
        self._bar = Progress(console=Console(stderr=True), transient=True, disable=not active)
        self._task = self._bar.add_task(title, total=total, completed=done)
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> Self:
        """Start the progress bar and open the TensorBoard file."""
        self._stack.enter_context(self._bar)
        if self._active and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # what an interrupted run logged of epochs that are now done again is dropped
            self._writer = SummaryWriter(str(self._folder / "tensorboard"), purge_step=self._done)
            self._stack.callback(self._writer.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        self._stack.close()

    def write(self, epoch: int, line: Line) -> None:
        """Record what is known of ``epoch``."""
        self._bar.advance(self._task)
        if not self._active:
            return
        full = {"epoch": epoch, **line}
        with (self._folder / LOG_FILE).open("a") as log:
            log.write(json.dumps(full) + "\n")
        self._bar.console.print(", ".join(f"{name} {value:g}" for name, value in full.items()))
        if self._writer is not None:
            for name, value in line.items():
                self._writer.add_scalar(name, value, epoch)
