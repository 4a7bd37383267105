"""Settings of passes as people type them, and passes from these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_origin, get_type_hints

from mpcvit.compress.compression import Compression
from mpcvit.compress.passes import PASSES
from mpcvit.errors import ConfigError
from mpcvit.store.codec import from_document


def make_pass(name: str, settings: Sequence[str]) -> Compression:
    """Return the pass of that name with settings such as ``ratio=0.7`` and ``blocks=2,4``.

    Raises:
        ConfigError: no such pass, a setting is unknown, missing or of the wrong type, or the pass refuses it.
    """
    kind = _kind(name)
    types = get_type_hints(kind)
    known = {field.name: types[field.name] for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if key not in known or not equals or key in values:
            raise _wrong(kind, setting)
        try:
            values[key] = _value(known[key], text)
        except (TypeError, ValueError) as error:
            raise _wrong(kind, setting) from error
    try:
        return kind(**values)
    except TypeError as error:  # a setting that has no default
        raise _wrong(kind, " ".join(settings) or "no settings") from error


def pass_from_json(document: Mapping[str, Any]) -> Compression:
    """Return the pass that :meth:`~mpcvit.compress.compression.Compression.to_json` wrote.

    Raises:
        ConfigError: as :func:`make_pass` raises it.
    """
    settings = {name: value for name, value in document.items() if name != "pass"}
    return from_document(_kind(str(document.get("pass"))), settings)


def settings_of(kind: type[Compression]) -> list[str]:
    """Return the settings of a pass as they are typed, with their defaults."""
    found = []
    for field in fields(kind):  # type: ignore[arg-type]  # every pass is a dataclass
        found.append(f"{field.name}={_typed(field.default) if field.default is not MISSING else '..'}")
    return found


def _kind(name: str) -> type[Compression]:
    if name not in PASSES:
        raise ConfigError(f"pass '{name}'", expected=f"one of {', '.join(PASSES)}", remedy="Correct the name.")
    return PASSES[name]


def _typed(value: Any) -> str:
    """Return ``value`` as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _value(kind: Any, text: str) -> Any:
    """Return ``text`` as a value of that type."""
    if get_origin(kind) is tuple:
        return tuple(json.loads(f"[{text}]"))
    if kind is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else bool(int(text))
    return kind(text)


def _wrong(kind: type[Compression], got: str) -> ConfigError:
    return ConfigError(
        f"{got} for {kind.name}",
        expected=f"settings among {' '.join(settings_of(kind))}",
        remedy="Correct the settings; 'mpcvit compress --list' shows all.",
    )
