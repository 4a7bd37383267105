"""What a search finds: a configuration, how well it did in a (short) training, and its price."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mpcvit.models.config import ViTConfig
from mpcvit.search.pareto import pareto_set
from mpcvit.search.price import Price


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

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict that :meth:`from_json` reads back."""
        return {
            "name": self.name,
            "method": self.method,
            "config": self.config.to_json(),
            "accuracy": self.accuracy,
            "epochs": self.epochs,
            "price": self.price.to_json(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Trial:
        """What :meth:`to_json` wrote."""
        config, price = ViTConfig.from_json(document["config"]), Price.from_json(document["price"])
        return cls(**{**document, "config": config, "price": price})


def best(trials: list[Trial]) -> list[Trial]:
    """The Pareto set of ``trials``, cheapest first."""
    return pareto_set(trials, lambda trial: trial.accuracy, lambda trial: trial.seconds)


def config_digest(config: ViTConfig) -> str:
    """16 hex digits that name ``config``."""
    canonical = json.dumps(config.to_json(), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
