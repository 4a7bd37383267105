"""Party 1 follows: it prepares the material that party 0 asks for, and finds it when a session names it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from mpcvit.engines.masked.weights import open_weights
from mpcvit.engines.setup_round import MATERIAL_TAG
from mpcvit.errors import ModelMismatch, MpcvitError, Overloaded, ProgramMismatch, ProtocolViolation, WeightMaskUnknown
from mpcvit.ring.prg import Prg
from mpcvit.wire import SESSION_ID_BYTES
from mpcvit.wire.codec import chunks, join_chunks
from mpcvit.wire.v1 import peer_pb2
from parties.common.settings import PartySettings
from parties.party.grpc_link import GrpcLink
from parties.party.masked.fetching import MaterialFetcher
from parties.party.masked.model import MaskedModel, OpenedWeights, PreparedMaterial
from parties.party.masked.role import NOT_YET, Hold, PairRole, Wanted


class Follower(PairRole):
    """Material that waits until a session names it.

    Args:
        models: by name and version.

    Attributes:
        waiting: by the model's key and the material's id; what no session has named yet.
    """

    def __init__(self, settings: PartySettings, fetcher: MaterialFetcher, models: Mapping[str, MaskedModel]) -> None:
        self._fetcher, self._models = fetcher, models
        self._most = settings.pool.sessions + settings.limits.sessions + settings.limits.queue
        self.waiting: defaultdict[str, dict[bytes, PreparedMaterial]] = defaultdict(dict)
        self._preparing: Counter[str] = Counter()
        self._trouble: defaultdict[str, str | None] = defaultdict(lambda: NOT_YET)

    def add(self, model: MaskedModel) -> None:
        """Do nothing: the leader asks for material."""

    def agree(self, model: MaskedModel, link: GrpcLink, hold: Hold, wanted: Wanted) -> PreparedMaterial | None:
        material_id = bytes(link.exchange(MATERIAL_TAG, bytes(SESSION_ID_BYTES))[0])
        material = self.waiting[model.key].pop(material_id, None)
        if material is not None:
            hold(material)
        return material

    def available(self, model: MaskedModel) -> int:
        return len(self.waiting[model.key])

    def lacking(self, model: MaskedModel) -> str | None:
        return None if self.waiting[model.key] else self._trouble[model.key]

    def expect(self, model: MaskedModel, count: int) -> None:
        """Do nothing: the leader asks for what it expects to use."""

    def forget(self, model: MaskedModel) -> None:
        """Do nothing: the leader names no material that it has dropped."""

    def finish(self, model: MaskedModel) -> None:
        """Do nothing: the leader asks for more."""

    def close(self) -> None:
        """Do nothing: nothing runs."""

    def prepare(self, request: peer_pb2.PrepareMaterialRequest) -> None:
        """Fetch and prepare material that the leader will use.

        Raises:
            ModelMismatch, ProgramMismatch: the leader holds another model or plan.
            WeightMaskUnknown: the weights were not opened under that mask here.
            Overloaded: more material waits or is prepared than sessions can use.
            DealerError: the material does not come.
        """
        model, mask_id = self._same_model(request.weights), request.weights.weight_mask_id
        if request.plan_sha256 != model.plan.digest:
            raise ProgramMismatch(
                "another plan for the same program",
                expected="equal versions and objectives at both parties",
                remedy="Set the same 'objective', and run the same version of mpcvit everywhere.",
            )
        waiting = self.waiting[model.key]
        with model.lock:
            opened = _opened(model, mask_id)
            for material_id in set(waiting) - set(request.kept):
                waiting.pop(material_id, None)  # the leader failed or restarted before it used it
            self._check_room(model)
            self._preparing[model.key] += 1
        try:
            waiting[request.material_id] = self._fetcher.fetch(model, request.material_id, opened)
            self._trouble[model.key] = None
        except MpcvitError as error:
            self._trouble[model.key] = error.reason
            raise
        finally:
            with model.lock:
                self._preparing[model.key] -= 1

    def answer_weights(self, requests: Iterator[peer_pb2.OpenWeightsRequest]) -> Iterator[bytes]:
        """Swap masked weights with the leader.

        Raises:
            ProtocolViolation: the stream does not begin by naming the weights.
            ModelMismatch: the leader holds another model.
            InvalidShare, InputTooLarge: not the announced number of bytes.
        """
        header = next(requests, None)
        if header is None or header.WhichOneof("part") != "weights":
            raise ProtocolViolation(
                "masked weights without a header",
                expected="a header first",
                remedy="Run the same version of mpcvit at both parties.",
            )
        model, mask_id = self._same_model(header.weights), header.weights.weight_mask_id
        dealer = header.weights.dealer
        received = join_chunks((request.chunk for request in requests), model.masked_bytes)
        seed = self._fetcher.weight_seed(model, mask_id, dealer)
        answer: list[memoryview] = []

        def exchange(sent: memoryview) -> memoryview:
            answer.append(sent)
            return memoryview(received)

        weights = open_weights(model.plan, model.share.weights, Prg(seed), exchange)
        with model.lock:  # not before: nobody waits for a leader that stalls
            model.opened = OpenedWeights(mask_id, dealer, weights)
            self.waiting[model.key].clear()
        for sent in answer:
            yield from map(bytes, chunks(sent))

    def _check_room(self, model: MaskedModel) -> None:
        if (count := len(self.waiting[model.key]) + self._preparing[model.key]) >= self._most:
            raise Overloaded(
                f"{count} sessions' material that waits",
                expected=f"less than {self._most}: a full pool and one for every session",
                remedy="Give both parties the same 'pool' and 'limits'.",
            )

    def _same_model(self, weights: peer_pb2.WeightMask) -> MaskedModel:
        models = list(self._models.values())
        model = next((model for model in models if model.share.manifest.digest == weights.manifest_sha256), None)
        if model is None:
            raise ModelMismatch(
                f"'{weights.model_name}' with another manifest",
                expected="shares of one 'mpcvit model share' run at both parties",
                remedy="Load the same model at both parties.",
            )
        return model


def _opened(model: MaskedModel, mask_id: bytes) -> OpenedWeights:
    """Return the model's weights, which are open under that mask."""
    if model.opened is None or model.opened.mask_id != mask_id:
        raise WeightMaskUnknown(
            "material for weights that are not open here",
            expected="weights opened with this process",
            remedy="Open the weights again; the leader does so by itself.",
        )
    return model.opened
