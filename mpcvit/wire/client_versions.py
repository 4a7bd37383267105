"""Versions of the protocol that clients may speak: this one and the last release's. Parties and dealers speak one."""

from __future__ import annotations

import hashlib
import json

from mpcvit.errors import VersionSkew
from mpcvit.wire import OLDEST_CLIENT_VERSION, PROTOCOL_VERSION
from mpcvit.wire.budget import FULL
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.reveal import RevealKind

#: The version from which on clients read manifests of today's format, with all kinds of inputs; what manifests lack for
#: older ones, and the format that these know.
_DIGESTS_OF_FILES = _TYPED_INPUTS = _BUDGETS = 3
_NEW = ("program_file_sha256", "share_sha256")
_OLD_FORMAT = 3
_OLD_ANSWERS = (RevealKind.LOGITS, RevealKind.TOPK, RevealKind.LABEL)


def require_client_version(version: int) -> None:
    """Make sure that a client of protocol ``version`` can be served.

    Raises:
        VersionSkew: it is older than the last release's, or newer than this one's.
    """
    if OLDEST_CLIENT_VERSION <= version <= PROTOCOL_VERSION:
        return
    whose = "the client" if version < OLDEST_CLIENT_VERSION else "the parties and the dealer"
    raise VersionSkew(
        f"a client of protocol version {version}",
        expected=f"a version from {OLDEST_CLIENT_VERSION} to {PROTOCOL_VERSION}",
        remedy=f"Update mpcvit at {whose}.",
    )


def is_readable_by(version: int, manifest: Manifest) -> bool:
    """Whether clients of protocol ``version`` know budgets, and the kinds of the model's input and answer.

    Older ones know one picture only, and logits or labels of it, by the whole model.

    They refuse a list with a manifest that they cannot read, so it is left out.

    Args:
        version: 0 for clients that do not say theirs: those before version 3.
    """
    known = manifest.input.is_plain and manifest.reveal.kind in _OLD_ANSWERS
    return (version >= _TYPED_INPUTS or known) and (version >= _BUDGETS or manifest.budget == FULL)


def manifest_for(version: int, manifest: Manifest) -> bytes:
    """Return ``manifest`` as clients of protocol ``version`` read it, as canonical JSON.

    Args:
        version: 0 for clients that do not say theirs: those before version 3.
    """
    if version >= _DIGESTS_OF_FILES:
        return manifest.canonical()
    document = json.loads(manifest.canonical())
    kept = {name: value for name, value in document.items() if name not in _NEW}
    return json.dumps({**kept, "format": _OLD_FORMAT}, sort_keys=True, separators=(",", ":")).encode()


def manifest_digest_for(version: int, manifest: Manifest) -> bytes:
    """Return the SHA-256, 32 bytes, by which clients of protocol ``version`` mean ``manifest``."""
    return hashlib.sha256(manifest_for(version, manifest)).digest()
