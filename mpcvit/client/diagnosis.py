"""Why a client's calls fail: its own certificate, the way to each party, what they serve."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from mpcvit.client.choice import choose
from mpcvit.client.settings import ClientSettings
from mpcvit.client.transport import GrpcParty, Offer, grpc_parties
from mpcvit.errors import ModelMismatch, MpcvitError, PeerLost
from mpcvit.finding import SetupFinding
from mpcvit.wire.owners import Owners
from mpcvit.wire.tls import TlsFiles
from mpcvit.wire.tls_probe import probe

_CALL_S = 5.0
_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


def findings(settings: ClientSettings) -> Iterator[SetupFinding]:
    """Yield what a client's set-up is like: ``certificate``, each party, then ``models``.

    What cannot be looked at because of an earlier error is left out.
    """
    files = settings.tls.files
    own = SetupFinding.of("certificate", lambda: _own_certificate(settings))
    yield own
    if own.error is not None:
        return
    offers: list[list[Offer]] = []
    for party, address in zip(grpc_parties(settings), settings.parties, strict=True):
        yield SetupFinding.of(party.role, partial(_party, party, address, files, offers))
    if len(offers) == len(settings.parties):
        yield SetupFinding.of("models", lambda: _models(offers, settings.pins, Owners.read(settings.owners)))


def _own_certificate(settings: ClientSettings) -> str:
    """Return the own role, if the files can serve it."""
    files = settings.tls.files
    files.read()
    for party in grpc_parties(settings):
        party.close()
    return files.role() or f"none: the tokens in {settings.token} stand for it"


def _party(party: GrpcParty, address: str, files: TlsFiles, offers: list[list[Offer]]) -> str:
    """Call ``party`` at ``address``, and add what it serves to ``offers``."""
    try:
        if (error := probe(address, files, party.role)) is not None:
            raise _without_proxy(error)
        offers.append(party.offers(time.monotonic() + _CALL_S))
    finally:
        party.close()
    return f"answers at {address}"


def _without_proxy(error: MpcvitError) -> MpcvitError:
    """Return ``error``, and if a proxy is set that somebody may count on, say that it is not used."""
    found = sorted({name for name in os.environ if name.lower() in _PROXIES and os.environ[name]})
    if not isinstance(error, PeerLost) or not found:
        return error
    return PeerLost(
        error.got,
        expected=error.expected,
        remedy=f"{error.remedy} {', '.join(found)} in the environment is not used: roles call each other directly.",
    )


def _models(offers: Sequence[Sequence[Offer]], pins: Mapping[str, str], owners: Owners) -> str:
    """Return what all parties serve, if they serve it identically, as it is pinned, and signed by an owner."""
    pinned = {name: digest.lower() for name, digest in pins.items()}
    names = sorted({offer.manifest.name for served in offers for offer in served})
    if not names:
        raise ModelMismatch(
            "parties that serve no model", expected="at least one", remedy="Ask the operators to load a model."
        )
    chosen = [choose(offers, name, pinned, owners) for name in names]
    return ", ".join(f"{manifest.name} {manifest.version}" for manifest in chosen)
