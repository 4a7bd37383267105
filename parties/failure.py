"""How services fail: typed errors travel as they are, unexpected ones without their text."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from mpcvit.errors import InternalError, MpcvitError
from mpcvit.wire.status import abort

log = logging.getLogger("mpcvit.failure")


def unexpected(error: Exception, role: str) -> InternalError:
    """What others hear of a bug in ``role``. Its log gets kind and place; the message could hold data."""
    log.error("%s at\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return InternalError(
        f"an unexpected {type(error).__name__}",
        expected="an answer",
        remedy=f"See the log of {role}.",
        origin=role,
    )


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
