"""YAML configuration files, checked; the environment overrides the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from mpcvit.errors import ConfigError
from mpcvit.wire.tls import TlsFiles


class Section(BaseModel):
    """A part of a configuration file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(Section):
    """PEM files of the authority, the own certificate and the own key. Relative to the configuration file."""

    ca: Path
    cert: Path
    key: Path

    @property
    def files(self) -> TlsFiles:
        """The same, as the wire layer takes it."""
        return TlsFiles(self.ca, self.cert, self.key)


class ConfigFile(BaseSettings):
    """Base of all configuration files.

    Environment variables ``MPCVIT_<SECTION>__<KEY>`` win over the file. Relative paths are relative to the file.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="MPCVIT_", env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the constructor's arguments, which hold the file's content."""
        return env_settings, init_settings

    @classmethod
    def read(cls, path: Path) -> Self:
        """The settings in the YAML file ``path``.

        Raises:
            ConfigError: the file is missing or not YAML, or a key is unknown, missing or wrong.
        """
        if not path.is_file():
            raise ConfigError(
                f"no file {path}", expected="a YAML configuration", remedy="Give the right path with --config."
            )
        try:
            content = YamlConfigSettingsSource(cls, yaml_file=path)()
            return cls(**_absolute(content, path.resolve().parent, cls))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            key = ".".join(map(str, first["loc"])) or "the whole file"
            raise ConfigError(
                f"{path}: {key}: {first['msg']}",
                expected=f"the keys of {cls.__name__}",
                remedy=f"Correct {key}; docs/architecture.md lists all keys.",
            ) from error
        except (ValueError, TypeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"{path}: {type(error).__name__}", expected="a YAML mapping", remedy="Correct the file's syntax."
            ) from error


def _absolute(content: dict[str, Any], base: Path, model: type[BaseModel]) -> dict[str, Any]:
    """``content`` with every relative path of a Path field made absolute from ``base``."""
    result = dict(content)
    for name, field in model.model_fields.items():
        value, kind = result.get(name), field.annotation
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            result[name] = _absolute(value, base, kind)
        elif kind is Path and isinstance(value, str):
            result[name] = base / value
        elif kind == list[Path] and isinstance(value, list):
            result[name] = [base / item for item in value]
    return result
