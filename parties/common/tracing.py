"""Whether a service sends traces: OpenTelemetry is imported where the configuration asks for it, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpcvit.errors import ConfigError
from parties.common.settings import OtelSettings

if TYPE_CHECKING:
    from parties.common.otlp import Tracing


def start_tracing(settings: OtelSettings | None, role: str) -> Tracing | None:
    """Return what sends traces of ``role``; None if the configuration has no ``otel``.

    Raises:
        ConfigError: OpenTelemetry is not installed, or the authority's file cannot be read.
    """
    if settings is None:
        return None
    try:
        from parties.common.otlp import Tracing
    except ImportError as error:
        raise ConfigError(
            "'otel' in the configuration without OpenTelemetry",
            expected="the packages of the extra 'otel'",
            remedy="Install mpcvit[otel], or remove 'otel'.",
        ) from error
    return Tracing(settings, role)
