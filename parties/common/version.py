"""Which protocol version other roles must speak."""

from __future__ import annotations

from mpcvit.errors import VersionSkew
from mpcvit.wire import PROTOCOL_VERSION


def require_version(version: int, role: str) -> None:
    """Make sure that another role speaks this version's protocol; clients alone may be older.

    Raises:
        VersionSkew: it does not.
    """
    if version != PROTOCOL_VERSION:
        raise VersionSkew(
            f"protocol version {version} at {role}",
            expected=str(PROTOCOL_VERSION),
            remedy="Run the same version of mpcvit at all parties and the dealer.",
        )
