"""All parties as threads of one process, over memory links: for tests, calibration checks and sweeps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mpcvit.errors import PeerError
from mpcvit.transport.memory_link import MemoryLink, memory_links

Result = TypeVar("Result")


def run_parties(parties: int, body: Callable[[MemoryLink], Result], timeout_s: float = 60.0) -> list[Result]:
    """Return what ``body`` returned for each party, run at the same time in one thread each.

    Raises:
        MpcvitError: the first error of any party; one that is not merely the echo of another's, if there is.
    """
    links = memory_links(parties, timeout_s)

    def run(link: MemoryLink) -> Result:
        try:
            return body(link)
        finally:
            link.close()

    with ThreadPoolExecutor(parties, thread_name_prefix="party") as pool:
        futures = [pool.submit(run, link) for link in links]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, PeerError)), errors[0])
    return [future.result() for future in futures]
