"""A client as a process of its own, on whatever host it is started: it infers picture after picture, a line each.

The module is also the program that runs there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mpcvit.client import Client
from mpcvit.errors import InternalError, MpcvitError

_DEADLINE_S = 600.0


class ClientProcess:
    """A context manager: the process runs inside it.

    Args:
        config: a ``client.yaml``.
        pictures: an ``.npy`` file of uint8 [count, height, width, 3].
        first: index of the picture that is inferred first; the next ones follow, in a circle.
        count: how many inferences, one after the other.
        command: makes the words that run some words where the client is to run.
    """

    def __init__(
        self,
        config: Path,
        pictures: Path,
        *,
        first: int = 0,
        count: int,
        command: Callable[[list[str]], list[str]] = lambda words: words,
    ) -> None:
        words = [sys.executable, "-m", "mpcvit.measure.client_process", str(config), str(pictures)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command([*words, str(first), str(count)]), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        with self._process:  # closes its pipes and waits
            pass

    def wait_ready(self) -> None:
        """Block until the client has started.

        Raises:
            InternalError: it ended instead.
        """
        next(self._lines())

    def infer(self) -> Iterator[dict[str, Any]]:
        """Let it begin, and yield what it reports of every inference.

        ``picture`` and ``seconds``; of an answer also ``label``, ``logits`` (None if they are not revealed) and
        ``stats`` per party; of a failure ``error``, the reason, and ``message``.

        Raises:
            InternalError: the client failed.
        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()
        yield from self._lines()

    def _lines(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None and self._process.stderr is not None  # noqa: S101, PT018 - pipes
        for line in self._process.stdout:
            yield json.loads(line)
        error = self._process.stderr.read().strip()
        if self._process.wait():
            raise InternalError(
                f"a client that failed: {error.splitlines()[-1] if error else self._process.returncode}",
                expected="inferences",
                remedy="Run 'mpcvit demo' with the same model to see more.",
            )


def main(config: str, pictures: str, first: str, count: str) -> None:
    """Say when ready, wait for a line, infer, print a line for each; after a refusal wait as long as it says."""
    pixels = np.load(pictures, allow_pickle=False)
    with Client.from_config(Path(config)) as client:
        _print({"ready": True})
        sys.stdin.readline()
        for index in range(int(first), int(first) + int(count)):
            picture = index % len(pixels)
            start = time.perf_counter()
            try:
                answer = client.infer(pixels[picture], deadline_s=_DEADLINE_S)
            except MpcvitError as error:
                seconds = time.perf_counter() - start
                _print({"picture": picture, "seconds": seconds, "error": error.reason, "message": str(error)})
                time.sleep(error.retry_after_s or 0)
                continue
            _print(
                {
                    "picture": picture,
                    "seconds": time.perf_counter() - start,
                    "label": answer.ranking[0],
                    "logits": answer.logits.tolist() if answer.reveal.logits else None,
                    "stats": [asdict(stats) for stats in answer.stats],
                }
            )


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
