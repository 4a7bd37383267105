"""Another version of a model at a running party: loaded beside the present one, and activated when all are ready."""

from __future__ import annotations

import threading
from pathlib import Path

from mpcvit.errors import MaterialExhausted, ModelMismatch
from mpcvit.store.shared import ModelShare
from mpcvit.wire.v1 import admin_pb2
from parties.common.model_loader import ModelLoader
from parties.party.party import ComputeParty
from parties.party.status import model_status


class Rollout(ModelLoader):
    """Changes the versions that a party serves. Sessions go on with the version that they named."""

    def __init__(self, party: ComputeParty) -> None:
        super().__init__(party.settings.load_from)
        self._party = party
        self._lock = threading.Lock()

    def activate(self, name: str, version: str) -> None:
        """Give a version to new sessions that name none.

        Raises:
            ModelMismatch: it is not loaded here, or another party has not the very same.
            PeerLost, PeerTimeout: another party cannot be asked.
            MaterialExhausted: no material was prepared for it yet.
        """
        for model in self._party.models.programs(self._party.models.get(name, version)):
            self._require_everywhere(model)
            if (lack := self._party.engine.lacking(model.manifest.key)) is not None:
                raise MaterialExhausted(
                    f"no prepared material for model '{model.manifest.key}': {lack}",
                    expected="some, so that the first sessions do not wait",
                    remedy="Load the model at all parties and its program at the dealer, then try again in a while.",
                )
        self._party.models.activate(name, version)

    def _load(self, folder: Path) -> admin_pb2.ModelStatus:
        programs = self._party.models.load(folder)
        with self._lock:
            self._party.add(programs)
        return model_status(self._party, programs[0])

    def _require_everywhere(self, model: ModelShare) -> None:
        for peer, monitor in self._party.monitors.items():
            monitor.require()
            if model.manifest.digest not in self._party.loaded_at(peer):
                raise ModelMismatch(
                    f"no model '{model.manifest.name}' version '{model.manifest.version}' with manifest "
                    f"{model.manifest.digest.hex()[:16]}.. at party {peer}",
                    expected="shares of one 'mpcvit model share' run at all parties",
                    remedy=f"Load the version at party {peer} first; parties hear of it within two seconds.",
                )
