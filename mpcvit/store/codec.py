"""Configurations as JSON documents: one reader and one writer for all of them.

A document has the fields of its dataclass and a ``version``. Documents of earlier versions are upgraded before they are
read (:mod:`mpcvit.store.upgrades`); what was written before there were versions is version 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from mpcvit.errors import ConfigError
from mpcvit.store.upgrades import upgraded

#: Of the documents that are written.
VERSION = 1

Config = TypeVar("Config")


def plain(config: object) -> dict[str, Any]:
    """Return the fields of a dataclass in JSON's own types, for places that have no need of a version."""
    document: dict[str, Any] = to_jsonable_python(config)
    return document


def to_document(config: object) -> dict[str, Any]:
    """Return the document that :func:`from_document` reads back."""
    return {"version": VERSION, **plain(config)}


def from_document(kind: type[Config], document: Mapping[str, Any]) -> Config:
    """Return the ``kind`` that a document of any version describes.

    Args:
        kind: a dataclass whose fields are plain values, enums, tuples, mappings, and dataclasses of such.

    Raises:
        ConfigError: a field or a value is unknown, missing or of another type, the values do not fit together, or the
            document is of a later version.
    """
    try:
        fields = _upgraded(kind, dict(document))
        # by way of JSON text: there, tuples are lists and enums strings, and all else is read strictly
        found: Config = _adapter(kind).validate_json(json.dumps([fields]), strict=True)[0]
    except ValidationError as error:
        raise _unreadable(kind, _brief(error)) from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(kind, f"{type(error).__name__} {error}") from error
    return found


@dataclass(frozen=True)
class FieldProblem:
    """A field of a document that is wrong.

    Attributes:
        location: names, and numbers in lists, on the way to it.
        what: what is wrong with it, for a sentence that begins with its name.
        unknown: whether there is no such field.
    """

    location: tuple[int | str, ...]
    what: str
    unknown: bool


def check_fields(kind: type[Config], document: Mapping[str, Any]) -> tuple[Config | None, list[FieldProblem]]:
    """Return the ``kind`` that ``document`` describes as :func:`from_document` would, or None and what is wrong.

    Raises:
        ConfigError: the values do not fit together, or the document is of a later version.
    """
    fields = _upgraded(kind, {"version": VERSION, **document})
    try:
        found: Config = _adapter(kind).validate_json(json.dumps([fields], default=str), strict=True)[0]
    except ValidationError as error:
        return None, [_problem(one["loc"][1:], one["type"], one["msg"], fields) for one in error.errors()]
    return found, []


def _problem(location: tuple[int | str, ...], kind: str, message: str, fields: Any) -> FieldProblem:
    # where there are several kinds of a part, pydantic puts the kind's name behind the part's
    places: list[int | str] = []
    for name in location:
        if isinstance(fields, dict) and name not in fields and fields.get("kind") == name:
            continue
        places.append(name)
        inside = isinstance(fields, dict) and name in fields, isinstance(fields, list) and isinstance(name, int)
        fields = fields[name] if any(inside) else None
    words = {"missing": "is missing", "unexpected_keyword_argument": "is no field here"}
    return FieldProblem(tuple(places), words.get(kind, message), kind == "unexpected_keyword_argument")


def _upgraded(kind: type[Config], document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a document of any version, as the current version has them."""
    version = document.pop("version", 0)
    if version == 0:
        return upgraded(kind, document)
    if version != VERSION:
        raise ConfigError(
            f"a {kind.__name__} of version {version!r}",
            expected=f"at most version {VERSION}",
            remedy="Read it with the version of mpcvit that wrote it, or a later one.",
        )
    return document


def _adapter(kind: type) -> TypeAdapter[Any]:
    # in a tuple, because a dataclass by itself cannot be given a configuration
    return TypeAdapter(tuple[kind], config=ConfigDict(extra="forbid"))  # type: ignore[valid-type]


def _unreadable(kind: type, what: str) -> ConfigError:
    return ConfigError(
        f"a {kind.__name__} with {what}",
        expected=f"the fields of {kind.__name__} and known kinds",
        remedy="Take a file that mpcvit wrote, or correct this one.",
    )


def _brief(error: ValidationError) -> str:
    """Return where a document is wrong, and how, for the first places that are."""
    found = error.errors(include_url=False)[:3]
    return "; ".join(f"{'.'.join(map(str, one['loc'][1:]))} {one['input']!r:.60}: {one['msg']}" for one in found)
