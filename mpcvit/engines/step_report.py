"""Progress of a run."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (rounds or nodes done, how many there are in all); may raise to end the run.
StepReport = Callable[[int, int], None]
