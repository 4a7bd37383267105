"""JSON schemas of configuration files, for editors and for checks elsewhere."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from mpcvit.config_file import ConfigFile, Section

#: An entry of a docstring's list of attributes: names, then what they are, which may take several lines.
_ENTRY = re.compile(r"^    ([\w, ]+): (.*(?:\n {8,}.*)*)", flags=re.MULTILINE)


def config_schema(settings: type[ConfigFile]) -> dict[str, Any]:
    """Return the JSON schema of ``settings``, with what docstrings say about each key."""
    schema = settings.model_json_schema()
    models = {kind.__name__: kind for kind in _models(settings)}
    for name, part in [(settings.__name__, schema), *schema.get("$defs", {}).items()]:
        if name in models:
            _describe(part, inspect.getdoc(models[name]) or "")
            _allow_short_form(part, models[name])
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return ``model`` and all sections below it."""
    below = [kind for field in model.model_fields.values() for kind in _sections_in(field.annotation)]
    return [model, *(found for kind in below for found in _models(kind))]


def _sections_in(kind: Any) -> list[type[BaseModel]]:
    """Return the sections in a field's type: itself, or those that its list, map or union holds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [found for part in get_args(kind) for found in _sections_in(part)]


def _describe(part: dict[str, Any], docstring: str) -> None:
    """Give ``part`` and its properties the descriptions in ``docstring``."""
    summary, _, attributes = docstring.partition("Attributes:\n")
    part["description"] = _words(summary)
    for described in part["properties"].values():
        described.pop("title", None)  # the key again, in capitals
    for names, text in _ENTRY.findall(attributes):
        for name in names.split(", "):
            if name in part["properties"]:
                part["properties"][name]["description"] = _words(text)


def _allow_short_form(part: dict[str, Any], model: type[BaseModel]) -> None:
    """Let a plain value stand in the place of a section that has a short form."""
    if issubclass(model, Section) and model.short:
        whole = dict(part)
        part.clear()
        part["anyOf"] = [whole["properties"][model.short], whole]


def _words(text: str) -> str:
    return " ".join(text.replace("``", "").split())
