"""What a session asks of either role: the leader names its material, the follower looks up what was named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from parties.party.grpc_link import GrpcLink
from parties.party.masked.model import MaskedModel, PreparedMaterial

#: Takes material over for the session that asks; called before the material leaves where it waits.
Hold = Callable[[PreparedMaterial], None]
#: Why there is no material before the first attempt to make some has ended.
NOT_YET = "nothing is prepared yet"
#: Raises if the session that asks is given up.
Wanted = Callable[[], None]


class PairRole(ABC):
    """Where a party's prepared material comes from."""

    @abstractmethod
    def add(self, model: MaskedModel) -> None:
        """Prepare material for one more model."""

    @abstractmethod
    def agree(self, model: MaskedModel, link: GrpcLink, hold: Hold, wanted: Wanted) -> PreparedMaterial | None:
        """Return the material that the leader names for a session; None where this party does not have it. One round.

        Raises:
            MpcvitError: what ``wanted`` raises.
            DealerError, PeerError: the material does not come.
        """

    @abstractmethod
    def available(self, model: MaskedModel) -> int:
        """Return for how many sessions of ``model`` material waits."""

    @abstractmethod
    def lacking(self, model: MaskedModel) -> str | None:
        """Return why there is no material and the last attempt made none; None if there is some, or it did."""

    @abstractmethod
    def expect(self, model: MaskedModel, count: int) -> None:
        """Note that so many sessions of ``model`` wait for their turn."""

    @abstractmethod
    def forget(self, model: MaskedModel) -> None:
        """Drop what was prepared with a peer that is lost or has restarted since."""

    @abstractmethod
    def finish(self, model: MaskedModel) -> None:
        """Note that a session that held material of ``model`` is over."""

    @abstractmethod
    def close(self) -> None:
        """Prepare no more."""
