"""What each client of a party may do: models, sessions at once, sessions per second, and its weight in the queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mpcvit.errors import NotAllowed, QuotaExceeded
from parties.common.tenants_file import AcceptedTokens, Policy, TenantsFile
from parties.common.token_buckets import TokenBuckets

#: Metrics' name for clients that are not listed: their number has no bound.
OTHERS = "other"
#: Sessions of a client that may fail by what it sent before it has to wait, and how many of them are forgiven a second.
_FAULTS, _FORGIVEN_PER_S = 3, 1 / 300


@dataclass(frozen=True)
class ClientPolicy:
    """A client's policy with every default filled in; see :class:`Policy`."""

    models: tuple[str, ...]
    sessions: int
    requests_per_s: float | None
    burst: int
    weight: int
    label: str

    def allows(self, name: str, version: str) -> bool:
        """Return whether the client may use and see a model."""
        return any(fnmatchcase(name, rule) or fnmatchcase(f"{name}:{version}", rule) for rule in self.models)


class Tenants:
    """Policies by identity, and how much of its rate each client has left. Thread-safe.

    Args:
        rules: the tenants file as it is now; None lets every client use every model.
        client_sessions: sessions that a client may hold where its policy says nothing.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        rules: Callable[[], TenantsFile] | None,
        client_sessions: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules, self._sessions = rules, client_sessions
        self._rates, self._faults = TokenBuckets(clock), TokenBuckets(clock)

    def policy(self, identity: str) -> ClientPolicy:
        """Return the policy of a client.

        Raises:
            NotAllowed: it is not listed, and there is no default.
        """
        policy, label = self._find(identity)
        return ClientPolicy(
            models=policy.models,
            sessions=self._sessions if policy.sessions is None else policy.sessions,
            requests_per_s=policy.requests_per_s,
            burst=policy.burst,
            weight=policy.weight,
            label=policy.label or label,
        )

    def weight(self, identity: str) -> int:
        """Return a client's weight in the queue; 1 for one that is not listed any more."""
        try:
            return self._find(identity)[0].weight
        except NotAllowed:
            return 1

    def label(self, identity: str) -> str:
        """Return what metrics call a client: one of few names, whoever calls."""
        try:
            return self.policy(identity).label
        except NotAllowed:
            return OTHERS

    def tokens(self) -> AcceptedTokens | None:
        """Return which tokens are accepted; None where none are."""
        return None if self._rules is None else self._rules().tokens

    def require_model(self, identity: str, name: str, version: str) -> None:
        """Make sure that a client may use a model.

        Raises:
            NotAllowed: it may not.
        """
        if not self.policy(identity).allows(name, version):
            raise NotAllowed(
                f"model '{name}' version '{version}', asked for by '{identity}'",
                expected="a model that the operator allows this client",
                remedy="Ask for one of those that the parties list for you, or ask the operators for this one.",
            )

    def require_room(self, identity: str, held: int, slack: int = 1) -> None:
        """Make sure that a client may hold one more session.

        Args:
            held: sessions that the client holds already.
            slack: how many times its quota is held before anybody minds.

        Raises:
            QuotaExceeded: it holds as many as it may.
            NotAllowed: it is not listed, and there is no default.
        """
        most = self.policy(identity).sessions
        if held >= slack * most:
            raise QuotaExceeded(
                f"{held} sessions of '{identity}'",
                expected=f"at most {most} at once",
                remedy="Fetch or cancel results first; the SDK fetches each.",
            )

    def begin(self, identity: str) -> None:
        """Take one session from a client's rate: from a bucket of ``burst`` that is refilled all the time.

        Raises:
            QuotaExceeded: it begins sessions too fast, or too many failed by what it sent; says when to come again.
            NotAllowed: it is not listed, and there is no default.
        """
        policy = self.policy(identity)
        if (spoiled := self.spoiled(identity)) is not None:
            raise spoiled
        if (rate := policy.requests_per_s) is None:
            return
        if (wait_s := self._rates.take(identity, rate=rate, burst=policy.burst)) > 0:
            raise QuotaExceeded(
                f"sessions of '{identity}' in quick succession",
                expected=f"at most {rate:g} a second, and {policy.burst} at once after a pause",
                remedy="Come again later, or ask the operators for a higher rate.",
                retry_after_s=wait_s,
            )

    def blame(self, identity: str) -> None:
        """Note that a session failed by what its client sent: it has cost the others time and material."""
        self._faults.owe(identity, rate=_FORGIVEN_PER_S, burst=_FAULTS)

    def spoiled(self, identity: str) -> QuotaExceeded | None:
        """Return why a client has to wait of whose sessions too many failed by what it sent; None if it has not."""
        if (wait_s := self._faults.wait_s(identity, rate=_FORGIVEN_PER_S, burst=_FAULTS)) == 0:
            return None
        return QuotaExceeded(
            f"sessions of '{identity}' that failed by what it sent, in quick succession",
            expected=f"at most {_FAULTS}, and one more every {1 / _FORGIVEN_PER_S:g} s",
            remedy="Share what the manifest describes; the SDK does.",
            retry_after_s=wait_s,
        )

    def _find(self, identity: str) -> tuple[Policy, str]:
        """Return the policy of ``identity``, and what metrics call it if the policy does not say."""
        if self._rules is None:
            return Policy(), OTHERS
        rules = self._rules()
        if identity in rules.clients:
            return rules.clients[identity], identity
        issuer = identity.partition("@")[2]
        if rules.tokens is not None and issuer in rules.tokens.issuers:
            policy = rules.tokens.issuers[issuer].policy
            if policy is not None:
                return policy, issuer
        if rules.default is None:
            raise NotAllowed(
                f"a call by '{identity}', who is not listed here",
                expected="a client that the operator knows",
                remedy="Ask the operators of all parties to list this client.",
            )
        return rules.default, OTHERS
