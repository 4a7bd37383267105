"""Party 0 leads: it opens the weights with party 1, keeps a pool full, and names the material of each session."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import grpc

from mpcvit.engines.masked.weights import open_weights
from mpcvit.engines.setup_round import MATERIAL_TAG
from mpcvit.errors import MpcvitError, WeightMaskUnknown
from mpcvit.ring.prg import Prg
from mpcvit.wire import SESSION_ID_BYTES
from mpcvit.wire.codec import chunks, join_chunks
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.v1 import peer_pb2, peer_pb2_grpc
from parties.common.settings import PartySettings
from parties.party.dealers import Dealers
from parties.party.grpc_link import GrpcLink
from parties.party.masked.fetching import MaterialFetcher
from parties.party.masked.model import MaskedModel, OpenedWeights, PreparedMaterial
from parties.party.masked.pool import MaterialPool
from parties.party.masked.role import Hold, PairRole, Wanted

log = logging.getLogger("mpcvit.fast")

Answer = TypeVar("Answer")
#: Seconds between looks whether party 1 is still there.
_LOOK_S = 0.5


class Leader(PairRole):
    """A pool of material per model, prepared at both parties at once.

    Args:
        dealers: of which this party chooses one.
        peer: stub of party 1.
        models: by name and version.
        held: material that sessions hold; party 1 keeps it.
        missing: why no material can be made now: party 1 or the dealer is lost.
    """

    def __init__(
        self,
        settings: PartySettings,
        fetcher: MaterialFetcher,
        dealers: Dealers,
        peer: peer_pb2_grpc.PeerServiceStub,
        models: Mapping[str, MaskedModel],
        held: Mapping[bytes, PreparedMaterial],
        missing: Callable[[], MpcvitError | None],
    ) -> None:
        self._timeouts, self._fetcher, self._peer, self._held = settings.timeouts, fetcher, peer, held
        self._dealers, self._missing = dealers, missing
        self._settings = settings
        self.pools: dict[str, MaterialPool[PreparedMaterial]] = {}
        for model in models.values():
            self.add(model)

    def add(self, model: MaskedModel) -> None:
        self.pools[model.key] = MaterialPool(
            partial(self._make, model),
            size=self._settings.pool.sessions,
            ahead=self._settings.limits.sessions,
            patience_s=self._settings.timeouts.pair_s,
            missing=self._missing,
        )

    def agree(self, model: MaskedModel, link: GrpcLink, hold: Hold, wanted: Wanted) -> PreparedMaterial:
        material = self.pools[model.key].take(hold, self._timeouts.offline_s, wanted)
        link.exchange(MATERIAL_TAG, material.material_id)
        return material

    def available(self, model: MaskedModel) -> int:
        return len(self.pools[model.key].entries())

    def lacking(self, model: MaskedModel) -> str | None:
        return self.pools[model.key].lacking

    def expect(self, model: MaskedModel, count: int) -> None:
        self.pools[model.key].expect(count)

    def forget(self, model: MaskedModel) -> None:
        self.pools[model.key].clear()

    def finish(self, model: MaskedModel) -> None:
        self.pools[model.key].finish()

    def close(self) -> None:
        for pool in list(self.pools.values()):
            pool.close()

    def _make(self, model: MaskedModel) -> PreparedMaterial:
        """Prepare material for the pool at both parties; open the weights (again) where needed."""
        try:
            return self._make_once(model)
        except WeightMaskUnknown:
            with model.lock:
                model.opened = None
            return self._make_once(model)

    def _make_once(self, model: MaskedModel) -> PreparedMaterial:
        opened = self._weights(model)
        material_id = secrets.token_bytes(SESSION_ID_BYTES)
        pool = self.pools.get(model.key)  # none while the first thread is faster than the constructor
        pooled = pool.entries() if pool is not None else []
        request = peer_pb2.PrepareMaterialRequest(
            weights=_weight_mask(model, opened.mask_id, opened.dealer),
            material_id=material_id,
            plan_sha256=model.plan.digest,
            kept=[material.material_id for material in [*pooled, *list(self._held.values())]],
        )
        call, done = self._peer.PrepareMaterial.future(request), threading.Event()
        call.add_done_callback(lambda _: done.set())
        try:
            material = self._fetcher.fetch(model, material_id, opened, lambda: self._going_on(call))
            while not self._going_on(call):
                done.wait(_LOOK_S)
        except BaseException:
            call.cancel()
            self._fetcher.release(material_id, opened.dealer)
            raise
        return material

    def _going_on(self, call: grpc.Future) -> bool:
        """Return whether party 1 has prepared its part; raise if it will not."""
        if call.done():
            _asked(call.result)
            return True
        if (missing := self._missing()) is not None:
            raise missing
        return False

    def _weights(self, model: MaskedModel) -> OpenedWeights:
        """Return the weights, open under a mask of the dealer that deals."""
        dealer = self._dealers.current
        with model.lock:
            opened = model.opened
        if opened is None or opened.dealer != dealer:
            opened = self._open_weights(model, dealer)
            with model.lock:
                model.opened = opened
        return opened

    def _open_weights(self, model: MaskedModel, dealer: int) -> OpenedWeights:
        mask_id = secrets.token_bytes(SESSION_ID_BYTES)

        def exchange(sent: memoryview) -> memoryview:
            requests = _weight_requests(_weight_mask(model, mask_id, dealer), sent)
            call = self._peer.OpenWeights(requests, timeout=self._timeouts.offline_s, wait_for_ready=True)
            return memoryview(_asked(lambda: join_chunks((answer.chunk for answer in call), len(sent))))

        start = time.perf_counter()
        seed = self._fetcher.weight_seed(model, mask_id, dealer)
        weights = open_weights(model.plan, model.share.weights, Prg(seed), exchange)
        log.info("weights of %s opened in %.2f s", model.key, time.perf_counter() - start)
        return OpenedWeights(mask_id, dealer, weights)


def _weight_requests(mask: peer_pb2.WeightMask, sent: memoryview) -> Iterable[peer_pb2.OpenWeightsRequest]:
    yield peer_pb2.OpenWeightsRequest(weights=mask)
    for piece in chunks(sent):
        yield peer_pb2.OpenWeightsRequest(chunk=bytes(piece))


def _weight_mask(model: MaskedModel, mask_id: bytes, dealer: int) -> peer_pb2.WeightMask:
    return peer_pb2.WeightMask(
        model_name=model.share.manifest.name,
        manifest_sha256=model.share.manifest.digest,
        weight_mask_id=mask_id,
        dealer=dealer,
    )


def _asked(call: Callable[[], Answer]) -> Answer:
    """Return ``call`` to party 1, its errors typed."""
    try:
        return call()
    except grpc.RpcError as error:
        raise from_rpc_error(error, "party1") from error
    except MpcvitError as error:
        error.origin = error.origin or "party1"
        raise
