"""What a search has found so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpcvit
from mpcvit.link_profile import LinkProfile
from mpcvit.search.trial import Trial, best
from mpcvit.store.codec import to_document


@dataclass(frozen=True, kw_only=True)
class Found:
    """All trials of a search.

    Attributes:
        title: e.g. the preset's name.
        profile: the network that prices are for.
        trials: all of them, in the order in which they were tried.
        budget: seconds that the search was to stay within, or None.
        facts: name-value pairs about the search.
    """

    title: str
    profile: LinkProfile
    trials: list[Trial]
    budget: float | None = None
    facts: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the Pareto set and all trials, JSON-ready."""
        return {
            "search": self.title,
            "version": mpcvit.__version__,
            "network": self.profile.name,
            "budget": self.budget,
            "facts": dict(self.facts),
            "pareto": [trial.name for trial in best(self.trials)],
            "trials": [to_document(trial) for trial in self.trials],
        }
