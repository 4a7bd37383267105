"""Training configurations as people write them: a recipe, a YAML or JSON file over it, single settings over that."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml

from mpcvit.data.catalogue import data_set
from mpcvit.errors import ConfigError
from mpcvit.store.codec import FieldProblem, check_fields, plain
from mpcvit.train.config import TrainConfig
from mpcvit.train.run import preset_architecture
from mpcvit.yaml_document import YamlDocument

#: What YAML takes for text for want of a point: 1e-3.
_FLOAT = re.compile(r"[-+]?\d+[eE][-+]?\d+|[-+]?\d+\.\d*[eE]\d+")
_EVERY = "*"

Location = tuple[int | str, ...]


def read_config(base: TrainConfig | None, file: Path | None, settings: Sequence[str]) -> TrainConfig:
    """Return ``base`` with the fields of ``file`` in the place of its own, and those of ``settings`` over both.

    Sections are merged field by field, lists are replaced. A part of ``architecture`` alone is a change of the preset
    that ``model`` names, where ``base`` has no architecture.

    Args:
        base: a recipe's; None where file and settings say everything.
        file: YAML or JSON, with the fields of :class:`~mpcvit.train.config.TrainConfig`.
        settings: such as ``lr=1e-3``, ``architecture.gmm=2``, ``architecture.blocks.*.heads=[softmax, scaling]`` or
            ``token_hooks.0.kind=registers``; values are YAML. A list grows where the number behind its last is set.

    Raises:
        ConfigError: the file cannot be read, a setting is no setting, a field is unknown, missing or wrong, or the
            values do not fit together; the message names file, line and field.
    """
    document = _Document({} if base is None else plain(base))
    if file is not None:
        written = YamlDocument.read(file)
        document.lay_over(written)
    for setting in settings:
        document.set(setting)
    config, problems = check_fields(TrainConfig, document.content)
    if config is None:
        raise ConfigError(
            "; ".join(document.described(problem) for problem in problems[:5]),
            expected="the fields of a TrainConfig",
            remedy="Correct the file, or what is given with --set; docs/training.md lists all fields.",
        )
    return config


@dataclass
class _Document:
    """A configuration in the making, and where its fields come from."""

    content: dict[str, Any]
    file: YamlDocument | None = None
    set_by: dict[Location, str] = field(default_factory=dict)

    def lay_over(self, file: YamlDocument) -> None:
        """Put what is in ``file`` over what is here."""
        self.file = file
        above = _numbers(file.content)
        part = above.get("architecture")
        if isinstance(part, dict) and "blocks" not in part:
            self._fill_architecture(above.get("model"))
        self.content = _merged(self.content, above)

    def set(self, setting: str) -> None:
        """Put one setting over what is here."""
        path, equals, text = setting.partition("=")
        names = path.strip().split(".")
        try:
            value = _numbers(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise _no_setting(setting) from error
        if not equals or not all(names):
            raise _no_setting(setting)
        if names[0] == "architecture" and len(names) > 1:
            self._fill_architecture(None)
        for location in _put(self.content, names, value, setting):
            self.set_by[location] = setting

    def described(self, problem: FieldProblem) -> str:
        """Return a problem as a phrase with its place."""
        location, name = problem.location, ".".join(map(str, problem.location))
        near = difflib.get_close_matches(str(location[-1]), _known(location, self.content), n=1) if location else []
        meant = f"; did you mean {near[0]!r}?" if problem.unknown and near else ""
        return f"{self._place(location)}{name or 'the configuration'}: {problem.what}{meant}"

    def _place(self, location: Location) -> str:
        for length in range(len(location), 0, -1):
            if location[:length] in self.set_by:
                return f"--set {self.set_by[location[:length]]}: "
        inside = [setting for place, setting in self.set_by.items() if place[: len(location)] == location]
        if inside:
            return f"--set {inside[0]}: "
        if self.file is not None:
            return f"{self.file.place(location)}: "
        return ""

    def _fill_architecture(self, model: Any) -> None:
        """Spell the preset's architecture out, where there is none."""
        name = model or self.content.get("model")
        if self.content.get("architecture") is None and isinstance(name, str):
            classes = data_set(self.content.get("data", TrainConfig.data)).classes
            self.content["architecture"] = plain(preset_architecture(name, classes))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with the fields of ``above``; sections that both have are merged."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = _merged(result[name], value) if both else value
    return result


def _put(content: Any, names: Sequence[str], value: Any, setting: str) -> list[Location]:
    """Set the field that ``names`` lead to in ``content``; where it is, several places if there are stars.

    Raises:
        ConfigError: there is no way to it.
    """
    name, rest = names[0], names[1:]
    keys: list[Any] = [name]
    if isinstance(content, list):
        keys = list(range(len(content))) if name == _EVERY else [_number(name, len(content), setting)]
        if keys == [len(content)]:
            content.append({})
    elif not isinstance(content, dict):
        raise _no_setting(setting, f"'{name}' inside of what has no parts")
    found: list[Location] = []
    for key in keys:
        if not rest:
            content[key] = copy.deepcopy(value)
            found.append((key,))
            continue
        if isinstance(content, dict) and content.get(key) is None:
            content[key] = [] if rest[0].isdigit() else {}
        found += [(key, *place) for place in _put(content[key], rest, value, setting)]
    return found


def _number(name: str, count: int, setting: str) -> int:
    if not name.isdigit() or int(name) > count:
        raise _no_setting(setting, f"'{name}' in a list of {count}")
    return int(name)


def _numbers(value: Any) -> Any:
    """Return ``value`` with numbers such as 1e-3, which YAML takes for text, as numbers."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, str) and _FLOAT.fullmatch(value) else value


def _known(location: Location, content: Any) -> list[str]:
    """Return the names of the fields beside the last of ``location``."""
    kind: Any = TrainConfig
    for name in location[:-1]:
        content = content[name]
        if isinstance(name, int):
            kind = get_args(kind)[0]
        else:
            hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
            kind = _without_none(hints.get(str(name)))
        kind = _kind_of(kind, content)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else []


def _without_none(hint: Any) -> Any:
    """Return X for X | None, else ``hint``."""
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in get_args(hint) if part is not NoneType]
        return parts[0] if len(parts) == 1 else hint
    return hint


def _kind_of(hint: Any, content: Any) -> Any:
    """Return the one of several kinds that ``content`` names, where there are several."""
    if get_origin(hint) is not Annotated:
        return hint
    name = content.get("kind") if isinstance(content, dict) else None
    kinds = {one.kind: one for one in get_args(get_args(hint)[0])}
    return kinds.get(name)


def _no_setting(setting: str, why: str = "") -> ConfigError:
    return ConfigError(
        f"--set {setting}" + (f", which sets {why}" if why else ""),
        expected="FIELD=VALUE such as lr=1e-3, architecture.gmm=2 or 'architecture.blocks.*.activation=relu'",
        remedy="Correct the setting; docs/training.md lists all fields.",
    )
