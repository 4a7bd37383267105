"""The operator's configuration file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from mpcvit.config_file import Address, ConfigFile, TlsSettings

_DEALER = "dealer"
_ROLE = re.compile(rf"party(0|[1-9][0-9]*)|{_DEALER}([1-9][0-9]*)?")


def _role(name: str) -> str:
    if not _ROLE.fullmatch(name):
        raise ValueError(f"'{name}' is no role: party0, party1, .., dealer, or dealer1, .. for others that stand by")
    return name


def certificate_role(name: str) -> str:
    """Return the role in the certificate of a serving role: all dealers have one."""
    return _DEALER if name.startswith(_DEALER) else name


#: A role that serves.
ServingRole = Annotated[str, AfterValidator(_role)]


class AdminSettings(ConfigFile):
    """``admin.yaml``.

    Attributes:
        tls: the operator's certificate; its role ends in ``.admin``.
        roles: admin addresses ``host:port`` (``listen.admin``) of the roles that this operator runs, by role.
    """

    tls: TlsSettings
    roles: dict[ServingRole, Address] = Field(min_length=1)
