"""Fetching a party's material and weight masks from the dealer."""

from __future__ import annotations

import time
from collections.abc import Callable

from mpcvit.engines.masked.executor import PreparedPlan
from mpcvit.errors import ProgramMismatch
from mpcvit.wire.v1 import dealer_pb2
from parties.common.settings import EngineName, PartySettings
from parties.party.dealers import Dealers
from parties.party.masked.material import StoredMaterial
from parties.party.masked.model import MaskedModel, OpenedWeights, PreparedMaterial


class MaterialFetcher:
    """Leases from the dealer on behalf of this party."""

    def __init__(self, settings: PartySettings, dealers: Dealers) -> None:
        self._settings, self._dealers = settings, dealers

    def weight_seed(self, model: MaskedModel, mask_id: bytes, dealer: int) -> bytes:
        """Return the seed of this party's share of a weight mask.

        Raises:
            DealerError: the dealer cannot be reached or does not answer.
            SessionReplayed: this party has taken it before.
        """
        request = dealer_pb2.LeaseWeightMaskRequest(
            weight_mask_id=mask_id,
            program_sha256=bytes.fromhex(model.share.manifest.program_sha256),
            manifest_sha256=model.share.manifest.digest,
        )
        return self._dealers[dealer].weight_mask_seed(request)

    def release(self, material_id: bytes, dealer: int) -> None:
        """Tell a dealer that nobody will use the material; never raises."""
        self._dealers[dealer].release(material_id)

    def fetch(
        self,
        model: MaskedModel,
        material_id: bytes,
        opened: OpenedWeights,
        wanted: Callable[[], object] = lambda: None,
    ) -> PreparedMaterial:
        """Return material for one session, with everything computed that does not depend on a picture.

        Args:
            wanted: called while the material comes; raises if it is not needed any more.

        Raises:
            MpcvitError: what ``wanted`` raises.
            DealerError: the material does not come.
            ProgramMismatch: the dealer has another plan.
            WeightMaskUnknown: the dealer does not remember the mask of ``opened``.
        """
        settings, manifest = self._settings, model.share.manifest
        start = time.perf_counter()
        request = dealer_pb2.LeaseMaterialRequest(
            material_id=material_id,
            program_sha256=bytes.fromhex(manifest.program_sha256),
            model_version=manifest.version,
            parties=2,
            engine=EngineName.FAST,
            objective=settings.objective,
            weight_mask_id=opened.mask_id,
        )
        dealer = self._dealers[opened.dealer]
        lease = dealer.lease(request)
        if lease.plan_sha256 != model.plan.digest:
            raise ProgramMismatch(
                "another plan at the dealer",
                expected="equal versions of mpcvit at dealer and parties",
                remedy="Run the same version of mpcvit everywhere.",
            )
        material = StoredMaterial(
            dealer,
            lease,
            folder=settings.state.dir,
            memory_bytes=settings.pool.memory_mib << 20,
            wanted=wanted,
        )
        prepared = PreparedPlan(model.plan, settings.index, material, opened.weights)
        return PreparedMaterial(lease, prepared, time.perf_counter() - start)
