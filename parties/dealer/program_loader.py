"""Programs that an operator loads into a running dealer."""

from __future__ import annotations

import logging
from pathlib import Path

from mpcvit.errors import NotAllowed
from mpcvit.wire.v1 import admin_pb2
from parties.common.model_loader import ModelLoader
from parties.dealer.leases import Dealer

log = logging.getLogger("mpcvit.dealer")


class ProgramLoader(ModelLoader):
    """Lets a dealer deal for more programs; versions are the parties' concern."""

    def __init__(self, load_from: Path | None, dealer: Dealer) -> None:
        super().__init__(load_from)
        self._dealer = dealer

    def activate(self, name: str, version: str) -> None:
        """Refuse: a dealer deals for every program that it has.

        Raises:
            NotAllowed: always.
        """
        raise NotAllowed(
            f"a request to activate '{name}:{version}' at a dealer",
            expected="a party",
            remedy="Activate versions at the parties.",
        )

    def _load(self, folder: Path) -> admin_pb2.ModelStatus:
        for program in self._dealer.load_programs(folder):
            log.info("program %s.. is loaded", program.digest[:16])
        return admin_pb2.ModelStatus()
