"""Which of the models that parties offer answers a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpcvit.client.transport import Offer
from mpcvit.errors import BudgetUnknown, ModelMismatch
from mpcvit.wire.budget import FULL
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.owners import Owners


def choose(
    offers: Sequence[Sequence[Offer]],
    model: str | None,
    pins: Mapping[str, str],
    owners: Owners,
    budget: str | None = None,
) -> Manifest:
    """Return the manifest of ``model`` that all parties serve.

    Of several versions of a name that is the pinned one, or else the first in party 0's list that all parties serve:
    parties list the active version first, and not all of them change to another one at the same moment.

    Args:
        offers: what each party serves.
        model: NAME or NAME:VERSION; None if there is just one name.
        pins: manifest digests (64 lower-case hex digits) by model name; by ``NAME@BUDGET`` for other budgets.
        owners: whose models are accepted.
        budget: which of the model's Programs; None for the whole model's.

    Raises:
        BudgetUnknown: the model has no such Program that all parties serve.
        NotSigned: no party has a signature of one of the owners for it.
        ModelMismatch: there is none, not the same at every party, for another number of parties, or not the pinned one.
    """
    names = sorted({offer.manifest.name for served in offers for offer in served})
    pinnable = sorted({offer.manifest.pin_name for served in offers for offer in served})
    if unknown := sorted(set(pins) - set(pinnable)):
        raise ModelMismatch(
            f"a pin for '{', '.join(unknown)}', which no party serves",
            expected=f"pins for models that are served: {', '.join(pinnable) or 'none'}",
            remedy="Correct the name under 'pins', or delete the pin.",
        )
    if model is None:
        if len(names) != 1:
            raise ModelMismatch(
                f"{len(names)} models: {', '.join(names)}",
                expected="the name of one of them",
                remedy="Pass model=NAME.",
            )
        model = names[0]
    name, version = (model, "") if model in names else model.rpartition(":")[::2]
    budget = budget or FULL
    pin = _pin(pins, name, budget)
    whole = _served_by_all(offers, name, version, FULL, pins.get(name))
    if whole is not None and budget != FULL:
        version = whole.version  # a version that is not active may have other budgets
        _require_budget(offers, whole, budget)
    first = _served_by_all(offers, name, version, budget, pin)
    if first is None:
        raise _not_served(model, names, _served_by_all(offers, name, version, budget, None), pin)
    if first.parties != len(offers):
        raise ModelMismatch(
            f"'{model}', shared among {first.parties} parties",
            expected=f"a model shared among {len(offers)}",
            remedy="List all parties in the client's configuration.",
        )
    signatures = [
        offer.signature for served in offers for offer in served if offer.manifest == first and offer.signature
    ]
    owners.check(first, signatures[0] if signatures else b"", "as the parties serve it")
    return first


def _pin(pins: Mapping[str, str], name: str, budget: str) -> str | None:
    """Return the digest that a budget's manifest must have, if any.

    Raises:
        ModelMismatch: the whole model is pinned, and the budget is not.
    """
    if budget == FULL:
        return pins.get(name)
    if name in pins and f"{name}@{budget}" not in pins:
        raise ModelMismatch(
            f"budget '{budget}' of '{name}', of which only the whole model is pinned",
            expected=f"a pin for '{name}@{budget}', too",
            remedy="Ask the model owner for the digest of the budget's manifest, and pin it.",
        )
    return pins.get(f"{name}@{budget}")


def _require_budget(offers: Sequence[Sequence[Offer]], whole: Manifest, budget: str) -> None:
    """Raise BudgetUnknown unless all parties serve this Program of a model's version."""
    name, version = whole.name, whole.version
    known = {offer.manifest.budget for offer in offers[0] if offer.manifest.name == name}
    found = [one for one in sorted(known) if _served_by_all(offers, name, version, one, None) is not None]
    if budget not in found:
        raise BudgetUnknown.of(name, budget, found)


def _served_by_all(
    offers: Sequence[Sequence[Offer]], name: str, version: str, budget: str, pin: str | None
) -> Manifest | None:
    """Return the first manifest of party 0 with this name that all parties have.

    A version, a budget and a pin are wanted.
    """
    first, *others = [[offer.manifest for offer in served] for served in offers]
    for manifest in first:
        wanted = manifest.name == name and manifest.budget == budget and version in ("", manifest.version)
        if wanted and pin in (None, manifest.digest.hex()) and all(manifest in other for other in others):
            return manifest
    return None


def _not_served(model: str, names: Sequence[str], other: Manifest | None, pin: str | None) -> ModelMismatch:
    """Return the error for a model that not all parties serve, or of which they serve an ``other`` than is pinned."""
    if other is not None:
        return ModelMismatch(
            f"'{model}' with manifest digest {other.digest.hex()}",
            expected=f"the pinned digest {pin}",
            remedy="Ask the model owner which digest is right, then correct the pin.",
        )
    return ModelMismatch(
        f"'{model}' served differently by the parties (they serve: {', '.join(names) or 'nothing'})",
        expected="one and the same version and share set at every party",
        remedy="Ask the operators to load shares of one 'mpcvit model share' run.",
    )
