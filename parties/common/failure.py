"""How services fail: typed errors travel as they are, unexpected ones without their text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from mpcvit.errors import InternalError, MpcvitError
from mpcvit.wire.status import abort
from parties.common.logs import where

log = logging.getLogger("mpcvit.failure")


def unexpected(error: Exception, role: str) -> InternalError:
    """Return what others hear of a bug in ``role``. Its log gets kind and place; the message could hold data."""
    log.error("an unexpected %s", type(error).__name__, extra={"exception": where(error)})
    return InternalError(
        f"an unexpected {type(error).__name__}",
        expected="an answer",
        remedy=f"See the log of {role}.",
        origin=role,
    )


def fresh(error: MpcvitError) -> MpcvitError:
    """Return the same error without what its traceback and causes keep alive, to be raised or kept."""
    kind = type(error)
    copy = kind(error.got, expected=error.expected, remedy=error.remedy, origin=error.origin)
    copy.__dict__.update(error.__dict__)
    return copy


@contextmanager
def answering(context: grpc.ServicerContext, role: str) -> Iterator[None]:
    """End the RPC of ``context`` with whatever error the body raises, signed with ``role``.

    gRPC by itself would send and log the text of any exception.
    """
    try:
        yield
    except MpcvitError as error:
        error.origin = error.origin or role
        abort(context, error)
    except Exception as error:
        if not context.is_active():  # the caller went away: gRPC's iterators raise a bare Exception
            raise
        abort(context, unexpected(error, role))
