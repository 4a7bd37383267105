"""The models that a party serves: versions of each name, one of them active, and Programs of each version."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from mpcvit.errors import BudgetUnknown, ModelMismatch
from mpcvit.store.shared import ModelShare, load_shares
from mpcvit.wire.budget import FULL
from mpcvit.wire.owners import Owners
from parties.common.settings import PartySettings

log = logging.getLogger("mpcvit.models")


class Models:
    """Shares by name, version and budget. Thread-safe.

    New sessions that name no version get the active one. At the start that is the first of a name in the configuration.

    Raises:
        NotSigned: the settings name owners, and none of them signed a model.
        ModelFileError, ProgramMismatch, ShapeMismatch: a folder is wrong.
        ModelMismatch: a model is shared among another number of parties, or two have one name and version.
        ConfigError: an owner's public key cannot be read.
    """

    def __init__(self, settings: PartySettings) -> None:
        self._index, self._parties = settings.index, settings.parties
        self._owners = Owners.read(settings.owners)
        self._lock = threading.Lock()
        self._versions: dict[str, list[ModelShare]] = {}
        for folder in settings.models:
            for model in self.load(folder):
                self.add(model)

    def load(self, folder: Path) -> list[ModelShare]:
        """Return the share in ``folder``, once for each Program, the whole model's first; they are not served yet.

        Raises:
            NotSigned, ModelFileError, ProgramMismatch, ShapeMismatch, ModelMismatch: it cannot be served.
        """
        shares = load_shares(folder, self._index, self._owners)
        model = shares[0]
        if model.manifest.parties != self._parties:
            raise ModelMismatch(
                f"model '{model.manifest.name}' in {folder}, shared among {model.manifest.parties} parties",
                expected=f"a model shared among {self._parties}",
                remedy="Share the model again, or correct 'models' and 'parties' in the configuration.",
            )
        for share in shares:
            _report(share)
        return shares

    def add(self, model: ModelShare) -> None:
        """Serve ``model`` to those who ask for its version and budget; active if it is the first of its name.

        Raises:
            ModelMismatch: there is one of this name, version and budget.
        """
        self.require_new(model)
        with self._lock:
            self._versions.setdefault(model.manifest.name, []).append(model)

    def require_new(self, model: ModelShare) -> None:
        """Make sure that no model of this name, version and budget is loaded.

        Raises:
            ModelMismatch: there is one.
        """
        manifest = model.manifest
        if manifest.key in self.keys():
            raise ModelMismatch(
                f"a second model '{manifest.name}' of version '{manifest.version}'",
                expected="another version for other weights",
                remedy="Give the model another version when it is exported, or load it once only.",
            )

    def activate(self, name: str, version: str) -> None:
        """Give a version to new sessions that name none.

        Raises:
            ModelMismatch: it is not loaded.
        """
        model = self.get(name, version)
        with self._lock:
            self._versions[name].sort(key=lambda other: other.manifest.version != model.manifest.version)
        log.info("version %r of model %r is active", version, name)

    def find(self, name: str, version: str = "", budget: str = FULL) -> ModelShare | None:
        """Return a version of a model, the active one if ``version`` is empty, with one of its Programs.

        None if it is not loaded.
        """
        return next((model for model in self._of(name, version) if model.manifest.budget == budget), None)

    def get(self, name: str, version: str = "", budget: str = FULL) -> ModelShare:
        """Return the same.

        Raises:
            ModelMismatch: it is not loaded.
            BudgetUnknown: it has no such budget.
        """
        found = self._of(name, version)
        if not found:
            raise ModelMismatch(
                f"model '{name}' version '{version}'",
                expected=f"one of {sorted({(m.manifest.name, m.manifest.version) for m in self.all()})}",
                remedy="Ask for a model that this party serves.",
            )
        model = self.find(name, found[0].manifest.version, budget)
        if model is None:
            raise BudgetUnknown.of(name, budget, [model.manifest.budget for model in found])
        return model

    def programs(self, model: ModelShare) -> list[ModelShare]:
        """Return the same version with each of its Programs, the whole model's first."""
        return self._of(model.manifest.name, model.manifest.version)

    def _of(self, name: str, version: str) -> list[ModelShare]:
        """Return the Programs of a version of a model, of the active one if ``version`` is empty."""
        with self._lock:
            versions = list(self._versions.get(name, []))
        wanted = version or next((model.manifest.version for model in versions), "")
        return [model for model in versions if model.manifest.version == wanted]

    def all(self) -> list[ModelShare]:
        """Return all versions of all models; of each name the active one comes first."""
        with self._lock:
            return [model for versions in self._versions.values() for model in versions]

    def keys(self) -> list[str]:
        """Return what tells them apart: ``NAME:VERSION``, and ``@BUDGET`` if it is not the whole model."""
        return [model.manifest.key for model in self.all()]

    def is_active(self, model: ModelShare) -> bool:
        """Return whether new sessions that name no version get the one of ``model``."""
        return model in self._of(model.manifest.name, "")


def _report(model: ModelShare) -> None:
    manifest = model.manifest
    budget = "" if manifest.budget == FULL else f" budget {manifest.budget!r}"
    what = f"model {manifest.name!r} {manifest.version!r}{budget}, manifest {manifest.digest.hex()[:16]}.."
    if model.owner is not None:
        log.info("%s: signed by owner %s", what, model.owner)
    else:
        found = "its signature is not checked" if model.signature else "it is not signed"
        log.warning("%s: %s, and 'owners' in the configuration names nobody who would have to", what, found)
