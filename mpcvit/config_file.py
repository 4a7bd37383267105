"""YAML configuration files, checked; the environment overrides the file."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from mpcvit.errors import ConfigError
from mpcvit.wire.tls import TlsFiles
from mpcvit.yaml_document import YamlDocument

_PREFIX, _DELIMITER = "MPCVIT_", "__"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]+):([0-9]{1,5})")
_LARGEST_PORT = 65535
_EVERY_HOST, _LOOPBACK = {"0.0.0.0", "[::]"}, {"localhost", "127.0.0.1", "[::1]"}  # noqa: S104 - compared, not bound


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= _LARGEST_PORT:
        raise ValueError(f"'{text}' is no host:port with a port from 1 to {_LARGEST_PORT}; IPv6 goes into brackets")
    return text


#: SHA-256 in hexadecimal.
Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
#: ``host:port``; an IPv6 host in brackets.
Address = Annotated[str, AfterValidator(_address), Field(json_schema_extra={"pattern": f"^{_ADDRESS.pattern}$"})]


def reaches(address: str, listener: str) -> bool:
    """Return whether whoever calls ``address`` on the machine of ``listener`` gets that listener."""
    (host, port), (own, own_port) = address.rsplit(":", 1), listener.rsplit(":", 1)
    if port != own_port:
        return False
    return host == own or host in _EVERY_HOST or (own in _EVERY_HOST and host in _LOOPBACK) or {host, own} <= _LOOPBACK


def require_different(addresses: Sequence[str]) -> None:
    """Make sure that no two of ``addresses`` are one.

    Raises:
        ValueError: two of them are.
    """
    for number, first in enumerate(addresses):
        for second in addresses[number + 1 :]:
            if reaches(first, second) or reaches(second, first):
                raise ValueError(f"{', '.join(addresses)} are not all different: {first} and {second} are one port")


class Section(BaseModel):
    """A part of a configuration file; unknown keys are errors.

    Attributes:
        short: the key that a plain value in the section's place stands for; empty if there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    short: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        return {cls.short: value} if cls.short and isinstance(value, str | Path) else value


class _Trust(Section):
    ca: Path = Field(description="certificate of the authority that all roles trust")
    spki_sha256: dict[str, list[Digest]] = Field(
        default_factory=dict,
        description="keys that other roles must have: by role (party1, dealer) SHA-256 digests of the "
        "SubjectPublicKeyInfo, 64 hex digits; roles that are not named may have any key that the authority signed",
    )
    reload_s: float = Field(
        default=60.0, gt=0, description="seconds after which a running process looks whether files have changed"
    )

    @field_validator("ca", "cert", "key", mode="before", check_fields=False)
    @classmethod
    def _is_no_content(cls, value: Any) -> Any:
        if "-----BEGIN" in str(value):  # which messages about a missing file would print
            raise ValueError("the content of a file; give its path")
        return value

    def require_pins_of(self, others: Collection[str]) -> None:
        """Make sure that only roles are pinned that one meets: a misspelt one would protect nothing.

        Raises:
            ValueError: another role is pinned.
        """
        unknown = [role for role in self.spki_sha256 if role not in others]
        if unknown:
            raise ValueError(f"tls.spki_sha256: {', '.join(unknown)} is none of {', '.join(sorted(others))}")

    def _files(self, cert: Path | None, key: Path | None) -> TlsFiles:
        pins = {role: [digest.lower() for digest in digests] for role, digests in self.spki_sha256.items()}
        return TlsFiles(self.ca, cert, key, pins, self.reload_s)


class TlsSettings(_Trust):
    """PEM files, and whose keys are pinned. Relative paths are relative to the configuration file.

    Attributes:
        cert: the own certificate.
        key: its private key.
    """

    cert: Path
    key: Path

    @property
    def files(self) -> TlsFiles:
        """The same, as the wire layer takes it."""
        return self._files(self.cert, self.key)


class ClientTlsSettings(_Trust):
    """The same for a client, which may show a token instead of a certificate.

    Attributes:
        cert: the own certificate; none with a token.
        key: its private key; none with a token.
    """

    cert: Path | None = None
    key: Path | None = None

    @property
    def files(self) -> TlsFiles:
        """The same, as the wire layer takes it."""
        return self._files(self.cert, self.key)


@dataclass(frozen=True)
class ConfigProblem:
    """One thing that is wrong with a configuration.

    Attributes:
        where: ``file:line``, or the variable of the environment that wins over the file.
        key: with its sections, separated by points; empty if the problem is of several keys.
        what: what is wrong with it.
    """

    where: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.what}" if self.key else f"{self.where}: {self.what}"


class ConfigFile(BaseSettings):
    """Base of all configuration files.

    Environment variables ``MPCVIT_<SECTION>__<KEY>`` win over the file. Relative paths are relative to the file.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=_PREFIX, env_nested_delimiter=_DELIMITER)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment first, then the constructor's arguments, which hold the file's content."""
        return env_settings, init_settings

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the settings in the YAML file ``path``.

        Raises:
            ConfigError: the file is missing or not YAML, or a key is unknown, missing or wrong, there or in a variable
                of the environment; the message names which.
        """
        settings, problems = cls.check(YamlDocument.read(path))
        if settings is None:
            raise _wrong_keys(problems, cls.__name__)
        return settings

    @classmethod
    def check(cls, document: YamlDocument) -> tuple[Self | None, list[ConfigProblem]]:
        """Return the settings in ``document``; or None, and every key that is wrong, there or in the environment."""
        odd = [key for key in document.content if not isinstance(key, str) or key.startswith("_")]
        if odd:  # the constructor would take them for its own options
            return None, [ConfigProblem(document.place([key]), str(key), "is no key here") for key in odd]
        try:
            return cls(**_absolute(document.content, document.path.resolve().parent, cls)), []
        except ValidationError as error:
            return None, _problems(document, cls, error)
        except SettingsError:
            names = [name for name, value in _variables(cls).items() if _DELIMITER not in name and not _is_json(value)]
            where = f"the environment variable {' or '.join(names) or _PREFIX + '..'}"
            return None, [ConfigProblem(where, "", 'is not JSON; lists and sections are, such as ["host:1", "host:2"]')]


def _wrong_keys(problems: Sequence[ConfigProblem], settings: str) -> ConfigError:
    places = dict.fromkeys(
        problem.where if _PREFIX in problem.where else problem.key or "the keys that this is about"
        for problem in problems
    )
    return ConfigError(
        "; ".join(map(str, problems)),
        expected=f"the keys of {settings}",
        remedy=f"Correct {', '.join(places)}; docs/architecture.md lists all keys.",
    )


def _problems(document: YamlDocument, settings: type[ConfigFile], error: ValidationError) -> list[ConfigProblem]:
    """Return every problem with its key, and the file or the variable in which it stands."""
    variables, found = _variables(settings), []
    for one in error.errors(include_input=False, include_url=False):
        location = one["loc"]
        if location:
            where = _variable_of(location, variables) or document.place(location)
        else:  # keys that do not go together
            where = f"{document.path}{''.join(f' with {name}' for name in variables)}"
        found.append(
            ConfigProblem(where, ".".join(map(str, location)), _what(one["type"], one["msg"], settings, location))
        )
    return found


def _what(kind: str, message: str, settings: type[BaseModel], location: Sequence[int | str]) -> str:
    """Return what is wrong with a key, in words of configuration files."""
    if kind == "missing":
        return "is missing"
    if kind != "extra_forbidden":
        return message.removeprefix("Value error, ")
    near = difflib.get_close_matches(str(location[-1]), _keys_at(settings, location[:-1]), n=1)
    return f"is no key here{''.join(f'; did you mean {name!r}?' for name in near)}"


def _keys_at(settings: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys that the section at ``location`` may have."""
    kind: Any = settings
    for name in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(name))
            kind = without_none(field.annotation) if field else None
        else:  # a map of sections, or a list of them
            kind = (None, *get_args(kind))[-1]
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def misspelt_variables(settings: type[ConfigFile]) -> list[str]:
    """Return a sentence for every variable that is not read and is much like one of ``settings``."""
    found = []
    for name in sorted(os.environ):
        head, _, rest = name.removeprefix(_PREFIX).lower().partition(_DELIMITER)
        near = difflib.get_close_matches(head, settings.model_fields, n=1, cutoff=0.8)
        if name.startswith(_PREFIX) and near and head not in settings.model_fields:
            meant = _PREFIX + _DELIMITER.join([near[0], rest] if rest else [near[0]]).upper()
            found.append(f"the environment variable {name} is not read; did you mean {meant}?")
    return found


def _variables(settings: type[ConfigFile]) -> dict[str, str]:
    """Return the environment variables that ``settings`` reads, by their names in capitals."""
    fields = {f"{_PREFIX}{name.upper()}" for name in settings.model_fields}
    return {
        name.upper(): value for name, value in os.environ.items() if name.upper().partition(_DELIMITER)[0] in fields
    }


def _variable_of(location: Sequence[int | str], variables: dict[str, str]) -> str | None:
    """Return the variable that sets the key at ``location``, or a part of it; None if the file does."""
    for length in range(len(location), 0, -1):
        name = _PREFIX + _DELIMITER.join(map(str, location[:length])).upper()
        if name in variables and (length > 1 or _holds(variables[name], location[1:])):
            return f"the environment variable {name}"
    return None


def _holds(value: str, location: Sequence[int | str]) -> bool:
    """Return whether ``value``, JSON if it has parts, has one at ``location``."""
    try:
        part = json.loads(value) if location else None
    except ValueError:
        return True
    for key in location:
        if isinstance(part, dict) and key not in part and str(key) not in part:
            return False
        part = part.get(key, part.get(str(key))) if isinstance(part, dict) else None
    return True


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _absolute(content: Mapping[str, Any], base: Path, model: type[BaseModel]) -> dict[str, Any]:
    """Return ``content`` with every relative path of a Path field made absolute from ``base``."""
    result = dict(content)
    for name, field in model.model_fields.items():
        value, kind = result.get(name), without_none(field.annotation)
        if isinstance(kind, type) and issubclass(kind, Section) and kind.short and isinstance(value, str):
            value = {kind.short: value}
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            result[name] = _absolute(value, base, kind)
        elif kind is Path and isinstance(value, str):
            result[name] = base / value
        elif kind == list[Path] and isinstance(value, list):
            result[name] = [base / item if isinstance(item, str) else item for item in value]
    return result


def without_none(kind: Any) -> Any:
    """Return X for X | None, else ``kind``."""
    parts = [part for part in get_args(kind) if part is not NoneType] if isinstance(kind, UnionType) else []
    return parts[0] if len(parts) == 1 else kind
