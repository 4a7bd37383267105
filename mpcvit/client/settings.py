"""The client's configuration file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from mpcvit.config_file import Address, ClientTlsSettings, ConfigFile, Digest, require_different


class ClientSettings(ConfigFile):
    """``client.yaml``.

    Attributes:
        tls: this client's certificate; its role ends in ``.client``. Only the authority's, if there is a token.
        token: file of tokens to show instead of a certificate: one a line for each party, party 0 first.
        parties: addresses ``host:port`` of the compute parties, party 0 first.
        pins: manifest digests (64 hex digits) by model name; a model that answers with another digest is refused.
        owners: PEM files of model owners' public keys; if there are any, a model that none of them signed is refused.
        deadline_s: seconds that an inference may take, retries included.
        retries: sessions that an inference may make beyond the first, after errors that say that a new one may help.
    """

    tls: ClientTlsSettings
    token: Path | None = None
    parties: list[Address] = Field(min_length=2)
    pins: dict[str, Digest] = Field(default_factory=dict)
    owners: list[Path] = Field(default_factory=list)
    deadline_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _differ(self) -> ClientSettings:
        require_different(self.parties)
        self.tls.require_pins_of([f"party{index}" for index in range(len(self.parties))])
        shown = [self.tls.cert is not None, self.tls.key is not None]
        if shown != [self.token is None] * 2:
            raise ValueError("a client shows either a certificate, tls.cert and tls.key, or a token")
        return self
