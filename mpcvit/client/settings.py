"""The client's configuration file."""

from __future__ import annotations

from pydantic import Field

from mpcvit.config_file import ConfigFile, TlsSettings


class ClientSettings(ConfigFile):
    """``client.yaml``.

    Attributes:
        tls: this client's certificate; its role ends in ``.client``.
        parties: addresses ``host:port`` of the compute parties, party 0 first.
        pins: manifest digests (64 hex digits) by model name; a model that answers with another digest is refused.
        deadline_s: seconds that an inference may take.
    """

    tls: TlsSettings
    parties: list[str] = Field(min_length=2)
    pins: dict[str, str] = Field(default_factory=dict)
    deadline_s: float = Field(default=120.0, gt=0)
