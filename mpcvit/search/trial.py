"""What a search finds: a configuration, how well it did in a (short) training, and its price."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from mpcvit.models.config import ViTConfig
from mpcvit.pricing.price import Price
from mpcvit.search.pareto import pareto_set
from mpcvit.store.codec import plain


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration, tried.

    Attributes:
        name: unique within a search, e.g. ``mu0.5`` or ``trial7``.
        method: what proposed it.
        accuracy: top-1 in [0, 1] on held-out training pictures.
        epochs: length of the training that this was measured after.
    """

    name: str
    method: str
    config: ViTConfig
    accuracy: float
    epochs: int
    price: Price

    @property
    def seconds(self) -> float:
        """The price."""
        return self.price.seconds


def best(trials: list[Trial]) -> list[Trial]:
    """Return the Pareto set of ``trials``, cheapest first."""
    return pareto_set(trials, lambda trial: trial.accuracy, lambda trial: trial.seconds)


def config_digest(config: ViTConfig) -> str:
    """Return 16 hex digits that name ``config``."""
    canonical = json.dumps(plain(config), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
