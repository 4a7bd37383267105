"""What an operator may change about the models of a running process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from mpcvit.errors import NotAllowed
from mpcvit.wire.v1 import admin_pb2


class ModelLoader(ABC):
    """Loads models into one process, and chooses among versions.

    Args:
        load_from: the folder below which models may be loaded; None where they may not.
    """

    def __init__(self, load_from: Path | None) -> None:
        self._load_from = load_from

    def load(self, folder: str) -> admin_pb2.ModelStatus:
        """Load what is in a folder on this machine; sessions that are not told to use it do not.

        Raises:
            NotAllowed: the folder is not where models may be loaded from.
            MpcvitError: it cannot be used.
        """
        if self._load_from is None:
            raise NotAllowed(
                "a request to load a model",
                expected="'load_from' in the configuration, which names the folder that models come from",
                remedy="Set 'load_from' and restart, or put the model into the configuration.",
            )
        base = self._load_from.resolve()
        path = (base / folder).resolve()
        if base not in path.parents:
            raise NotAllowed(
                f"folder '{folder}'",
                expected="a folder below 'load_from' of the role's configuration",
                remedy="Copy the model there.",
            )
        return self._load(path)

    @abstractmethod
    def activate(self, name: str, version: str) -> None:
        """Give a version to new sessions that name none.

        Raises:
            MpcvitError: it is not ready for them.
        """

    @abstractmethod
    def _load(self, folder: Path) -> admin_pb2.ModelStatus:
        """Load what is in ``folder``."""
