"""Logs of services: text for people on a terminal, one JSON object a line otherwise; never the text of an exception."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import traceback
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: Ours; libraries speak from WARNING on, whatever the level.
_OURS = "mpcvit"


def set_up_logs(role: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Send all logs of this process to ``stream``, each with ``role``; SIGUSR1 turns debugging on and off.

    Call it in the main thread. What a thread binds by :func:`structlog.contextvars.bound_contextvars`, such as
    ``session``, is in each of its lines.

    Args:
        level: of our own loggers: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(role, text=stream.isatty()))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    ours = logging.getLogger(_OURS)
    ours.setLevel(level.upper())
    configured = ours.level

    def toggle(*_: object) -> None:
        ours.setLevel(configured if ours.level == logging.DEBUG else logging.DEBUG)

    signal.signal(signal.SIGUSR1, toggle)
    threading.excepthook = _log_dead_thread


def where(error: BaseException) -> str:
    """Return kind and place of ``error``, and of what caused it; its text could hold data."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{where(cause)}then\n" if cause is not None else ""
    return f"{before}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}\n"


def _formatter(role: str, *, text: bool) -> logging.Formatter:
    def add_role(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {"role": role, **event}

    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        add_role,
        _hide_texts,
    ]
    render: list[Processor] = (
        [_escape, structlog.dev.ConsoleRenderer(timestamp_key="time")]
        if text
        else [structlog.processors.JSONRenderer()]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=common,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )


def _hide_texts(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep of exceptions kind and place; libraries put their text into the message as well."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = where(error)
        if not event["logger"].startswith(_OURS):
            event["event"] = f"{type(error).__name__} in {event['logger']}"
    return event


def _escape(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape control characters: what a caller sent must not move the cursor or look like another line."""
    return {
        key: "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
        if isinstance(value, str) and key != "exception"
        else value
        for key, value in event.items()
    }


def _log_dead_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "?"
    error = ended.exc_value
    logging.getLogger("mpcvit.threads").error("thread %s died", name, exc_info=error)
