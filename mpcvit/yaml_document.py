"""A YAML mapping, and the line on which each of its keys stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from mpcvit.errors import ConfigError


@dataclass(frozen=True)
class YamlDocument:
    """A configuration file as it was written.

    Attributes:
        path: the file.
        content: what it holds; empty for an empty file.
        lines: line number, from 1, by the names of the keys on the way; entries of lists count from 0.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[tuple[str, ...], int]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the mapping in ``path``.

        Raises:
            ConfigError: there is no such file, it cannot be read, is no YAML mapping, or has a key twice.
        """
        if not path.is_file():
            raise ConfigError(
                f"no file {path}", expected="a YAML configuration", remedy="Give the right path with --config."
            )
        lines: dict[tuple[str, ...], int] = {}
        try:
            loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
            try:
                node = loader.get_single_node()
                for location, line in _lines(node, ()):
                    if location in lines:
                        raise _not_yaml(path, line, f"the key '{'.'.join(location)}' a second time")
                    lines[location] = line
                content = loader.construct_document(node) if node is not None else {}
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise _not_yaml(path, mark.line + 1 if mark else 1, error.problem or "a mistake in the syntax") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise _not_yaml(path, 1, type(error).__name__) from error
        if not isinstance(content, dict):
            raise _not_yaml(path, 1, "no mapping of keys to values")
        return cls(path, content, lines)

    def place(self, location: Sequence[int | str]) -> str:
        """Return ``file:line`` of the key at ``location``, or of the section that should hold it."""
        names = tuple(map(str, location))
        found = (self.lines[names[:length]] for length in range(len(names), 0, -1) if names[:length] in self.lines)
        line = next(found, None)
        return f"{self.path}:{line}" if line else str(self.path)


def _lines(node: yaml.Node | None, location: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield every key below ``node``, and its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inside = (*location, str(key.value))
            yield inside, key.start_mark.line + 1
            yield from _lines(value, inside)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            inside = (*location, str(number))
            yield inside, value.start_mark.line + 1
            yield from _lines(value, inside)


def _not_yaml(path: Path, line: int, what: str) -> ConfigError:
    return ConfigError(
        f"{path}:{line}: {what}", expected="a YAML mapping, each key once", remedy="Correct the file's syntax."
    )
