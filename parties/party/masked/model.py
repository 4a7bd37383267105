"""What the leader and the follower know of a model: its plan, its open weights, and material prepared for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from mpcvit.engines.masked.executor import PreparedPlan
from mpcvit.engines.masked.plan import Plan
from mpcvit.engines.masked.weights import FastWeights
from mpcvit.store.shared import ModelShare
from parties.party.dealer_client import Lease


@dataclass(frozen=True, repr=False)
class PreparedMaterial:
    """Material that is ready for one session.

    Attributes:
        seconds: from asking the dealer until everything was prepared.
    """

    lease: Lease
    prepared: PreparedPlan
    seconds: float

    @property
    def material_id(self) -> bytes:
        """16 bytes, the same at both parties."""
        return self.lease.request.material_id


@dataclass(frozen=True, repr=False)
class OpenedWeights:
    """A model's weights, open under a mask.

    Attributes:
        mask_id: 16 bytes.
        dealer: number of the dealer that knows the mask, and deals under it.
    """

    mask_id: bytes
    dealer: int
    weights: FastWeights


@dataclass(repr=False)
class MaskedModel:
    """One model's state at a party.

    Attributes:
        lock: guards ``opened``.
        opened: the weights as they are open; None before.
    """

    share: ModelShare
    plan: Plan
    lock: threading.Lock = field(default_factory=threading.Lock)
    opened: OpenedWeights | None = None

    @property
    def key(self) -> str:
        """The model's name and version."""
        return self.share.manifest.key

    @property
    def masked_bytes(self) -> int:
        """Length of the weights that each party opens."""
        return sum(8 * self.plan.program.parameters[name].size for name in self.plan.masked_parameters)
