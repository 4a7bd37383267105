"""The masks under which parties opened their weights: seeds, and the masks that they expand to."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import torch

from mpcvit.engines.masked.dealer import weight_masks
from mpcvit.engines.masked.plan import Plan
from mpcvit.errors import NotAllowed, ProgramMismatch, SessionReplayed, WeightMaskUnknown
from mpcvit.ring.prg import SEED_BYTES, Prg

#: Expanded masks kept ready.
_KEPT_WEIGHTS = 4


@dataclass(frozen=True, repr=False)
class _WeightMask:
    """A mask of one set of weights, opened by the parties under it: two random seeds, and who has taken theirs."""

    program_sha256: bytes
    manifest_sha256: bytes
    seeds: tuple[bytes, bytes]
    taken: set[int] = field(default_factory=set)


class WeightMasks:
    """Masks by id, the one used last at the end.

    Args:
        most: so many are remembered; the one that was not used for longest is forgotten first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._masks: OrderedDict[bytes, _WeightMask] = OrderedDict()
        self._expanded: OrderedDict[bytes, dict[str, torch.Tensor]] = OrderedDict()

    @property
    def ids(self) -> list[bytes]:
        """Ids of the masks that are remembered, the longest unused first."""
        return list(self._masks)

    def lease(self, mask_id: bytes, program_sha256: bytes, manifest_sha256: bytes, party: int) -> bytes:
        """Return the seed of the caller's share of a mask; once per mask and party.

        Once both parties have a new mask for a set of weights, its older ones are forgotten.

        Raises:
            ProgramMismatch: another model under the same id.
            SessionReplayed: this party has its seed: a mask serves one set of weights.
            NotAllowed: the caller is not one of two parties.
        """
        if party not in (0, 1):
            raise NotAllowed(f"party {party} of 2", expected="one of two parties", remedy="Set 'engine: stock'.")
        with self._lock:
            mask = self._masks.get(mask_id)
            if mask is None:
                seeds = (secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES))
                mask = self._masks[mask_id] = _WeightMask(program_sha256, manifest_sha256, seeds)
            if (mask.program_sha256, mask.manifest_sha256) != (program_sha256, manifest_sha256):
                raise ProgramMismatch(
                    "another model under the same weight mask", expected="one model per mask", remedy="Restart."
                )
            if party in mask.taken:
                raise SessionReplayed(
                    f"a second lease of a weight mask by party {party}",
                    expected="one per mask and party",
                    remedy="Open the weights again under a new mask.",
                )
            mask.taken.add(party)
            self._forget(mask_id, mask)
        return mask.seeds[party]

    def expanded(self, mask_id: bytes, program_sha256: bytes, plan: Plan) -> dict[str, torch.Tensor]:
        """Return the masks of ``plan``'s weights, by parameter.

        Raises:
            WeightMaskUnknown: the weights were not opened under this mask by both parties, or it is forgotten.
        """
        with self._lock:
            mask = self._masks.get(mask_id)
            if mask is None or mask.program_sha256 != program_sha256 or mask.taken != {0, 1}:
                raise WeightMaskUnknown(
                    "material for weights that were not opened under a mask of this dealer",
                    expected="a mask leased from this process, and not long unused",
                    remedy="Open the weights again; parties do so by themselves.",
                )
            self._masks.move_to_end(mask_id)
            if mask_id not in self._expanded:
                first, second = map(Prg, mask.seeds)
                self._expanded[mask_id] = weight_masks(plan, (first, second))
                while len(self._expanded) > _KEPT_WEIGHTS:
                    self._expanded.popitem(last=False)
            return self._expanded[mask_id]

    def _forget(self, newest: bytes, mask: _WeightMask) -> None:
        """Forget masks that ``newest`` replaces, and those beyond what is remembered."""
        replaced = [
            mask_id
            for mask_id, other in self._masks.items()
            if mask.taken == {0, 1} and mask_id != newest and other.manifest_sha256 == mask.manifest_sha256
        ]
        surplus = list(self._masks)[: max(0, len(self._masks) - self._most)]
        for mask_id in {*replaced, *surplus}:
            del self._masks[mask_id]
            self._expanded.pop(mask_id, None)
