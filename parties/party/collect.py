"""How a client's call gets a session's result."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from parties.party.party import ComputeParty
from parties.party.sessions import Failed, Finished, HeldSession, Progress


def collect(party: ComputeParty, session: HeldSession, context: grpc.ServicerContext) -> Iterator[Progress | Finished]:
    """Yield progress, then the result; the session is then forgotten. A caller that goes away gives the session up.

    Raises:
        MpcvitError: why the session failed; it is then forgotten, too.
    """
    context.add_callback(lambda: None if session.fetched else party.runner.cancel(session))
    for event in session.follow(party.settings.timeouts.session_s):
        if isinstance(event, Progress):
            yield event
            continue
        session.fetched = True
        party.sessions.remove(session.session_id)
        if isinstance(event, Failed):
            raise event.error
        yield event
