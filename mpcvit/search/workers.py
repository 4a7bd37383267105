"""Where trials run: in this process, in several of this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from mpcvit.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

RAY = "ray"


@dataclass(frozen=True)
class Workers:
    """Something that runs functions.

    Attributes:
        slots: how many at a time.
    """

    executor: Executor
    slots: int


class _Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001, RUF100 - goes to whoever asks for the result
            future.set_exception(error)
        return future


class _Ray(Executor):
    """Ray tasks, one CPU each; the cluster is the one that ``RAY_ADDRESS`` names, or a new one on this machine."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = self._ray.remote(fn).remote(*args, **kwargs).future()
        return future


@contextmanager
def workers(wanted: str) -> Iterator[Workers]:
    """Yield workers as the command line names them: a number of processes, 1 being this one, or ``ray``.

    Raises:
        ConfigError: neither of these, or Ray is not installed.
    """
    if wanted == RAY:
        yield from _ray_workers()
    elif wanted == "1":
        yield Workers(_Here(), 1)
    elif wanted.isdecimal() and int(wanted) > 1:
        # fresh interpreters: forked ones would inherit torch's threads and locks
        slots = int(wanted)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(slots, spawn, initializer=_share_cores, initargs=(slots,)) as pool:
            yield Workers(pool, slots)
    else:
        raise ConfigError(
            f"workers '{wanted}'", expected="a number of processes from 1, or 'ray'", remedy="Correct --workers."
        )


def _share_cores(slots: int) -> None:
    """Give this process its part of the cores: more threads than cores slow all trainings down."""
    import torch

    torch.set_num_threads(max(torch.get_num_threads() // slots, 1))


def _ray_workers() -> Iterator[Workers]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(
            "workers 'ray' without Ray",
            expected="an installation with the extra 'ray'",
            remedy="Run: pip install '.[ray]', or choose a number of processes with --workers.",
        ) from error
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        yield Workers(_Ray(ray), max(int(ray.cluster_resources().get("CPU", 1)), 1))
    finally:
        if began:
            ray.shutdown()
