"""``tenants.yaml``: who may ask a party for what, and how much of it."""

from __future__ import annotations

from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from mpcvit.config_file import ConfigFile, Section
from mpcvit.wire.tls import CLIENT_SUFFIX

_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"
#: Names of issuers, subjects of tokens, labels of metrics.
Word = Annotated[str, Field(pattern=f"^{_WORD}$")]
#: A client: the role in its certificate, or who the token is about and who issued it.
ClientIdentity = Annotated[str, Field(pattern=rf"^({_WORD}\{CLIENT_SUFFIX}|{_WORD}@{_WORD})$")]


def _ed25519(pem: str) -> str:
    public_key(pem)
    return pem


class Policy(Section):
    """What a client may do.

    Attributes:
        models: patterns (``*``, ``?``) of NAME or NAME:VERSION of the models that it may use and see.
        sessions: sessions that it may hold at once, results that it has not fetched included; None: as many as
            ``limits.client_sessions`` says.
        requests_per_s: sessions that it may begin per second in the long run; None: any number.
        burst: sessions that it may begin at once after a pause.
        weight: how many of its sessions are started in one of its turns, when several clients wait.
        label: what metrics call it.
    """

    models: tuple[str, ...] = ("*",)
    sessions: int | None = Field(default=None, ge=1)
    requests_per_s: float | None = Field(default=None, gt=0)
    burst: int = Field(default=10, ge=1)
    weight: int = Field(default=1, ge=1, le=1000)
    label: Word | None = None


class Issuer(Section):
    """Somebody whose tokens are accepted.

    Attributes:
        keys: Ed25519 public keys in PEM; several while one replaces another.
        policy: of its subjects that are not listed under ``clients``; None: the default one.
    """

    keys: list[Annotated[str, AfterValidator(_ed25519)]] = Field(min_length=1)
    policy: Policy | None = None


class AcceptedTokens(Section):
    """Signed tokens that clients may show instead of certificates.

    Attributes:
        audience: the name of this deployment; a token for party 0 has the audience ``<audience>/party0``.
        longest_s: longest time, in seconds, that a token may be valid.
        issuers: by the name that their tokens give.
    """

    audience: Word
    longest_s: float = Field(default=3600, gt=0)
    issuers: dict[Word, Issuer] = Field(min_length=1)


class TenantsFile(ConfigFile):
    """``tenants.yaml``. The environment does not override it: a running party reads it again when it changes.

    Attributes:
        default: the policy of clients that are not listed; None: they are refused.
        clients: policies of clients by their identities: ``alice.client`` by certificate, ``alice@issuer`` by token.
        tokens: which tokens are accepted; None: clients need certificates.
    """

    default: Policy | None = None
    clients: dict[ClientIdentity, Policy] = Field(default_factory=dict)
    tokens: AcceptedTokens | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the file alone."""
        return (init_settings,)


def public_key(pem: str) -> Ed25519PublicKey:
    """Return an issuer's key.

    Raises:
        ValueError: it is no Ed25519 public key in PEM.
    """
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("a key of another kind than Ed25519")  # noqa: TRY004 - pydantic reports ValueErrors
    return key
