"""``mpcvit token``: keys and tokens of an issuer, for clients that have no certificate."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.errors import ConfigError

token_app = typer.Typer(help="Issue tokens to clients that have no certificate.", no_args_is_help=True)


@token_app.command("key")
@command
def make_key(
    out: Annotated[Path, typer.Argument(help="File for the issuer's private key; must not be there.")],
    json_output: Json = False,
) -> None:
    """Make an issuer's Ed25519 key; print the public key, for 'tokens.issuers' in the parties' tenants files."""
    key = Ed25519PrivateKey.generate()
    _write(out, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), replace=False)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    if json_output:
        print_json({"key": str(out), "public_key": public})
    else:
        print_table(f"issuer's key in {out}", [("public key", public.strip())])


@token_app.command("issue")
@command
def issue_tokens(
    key: Annotated[Path, typer.Option("--key", help="The issuer's private key.")],
    issuer: Annotated[str, typer.Option("--issuer", help="The issuer's name in the parties' tenants files.")],
    subject: Annotated[str, typer.Option("--subject", help="The client; parties call it SUBJECT@ISSUER.")],
    audience: Annotated[str, typer.Option("--audience", help="'tokens.audience' of the parties.")],
    out: Annotated[Path, typer.Option("--out", help="File for the tokens, replaced in one step; secret.")],
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    valid_s: Annotated[float, typer.Option(min=1, help="Seconds for which they are valid.")] = 900,
    json_output: Json = False,
) -> None:
    """Write one token for each party, a line each: 'token' in a client's configuration names the file."""
    from parties.common.tokens import issue

    now = time.time()
    tokens = issue(
        _private_key(key),
        issuer=issuer,
        subject=subject,
        deployment=audience,
        parties=parties,
        valid_s=valid_s,
        now=now,
    )
    _write(out, "".join(f"{token}\n" for token in tokens), replace=True)
    facts = {"file": str(out), "client": f"{subject}@{issuer}", "parties": parties, "expires": int(now + valid_s)}
    if json_output:
        print_json(facts)
    else:
        print_table(f"tokens in {out}", [(name, str(value)) for name, value in facts.items()])


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{type(error).__name__} reading {path}",
            expected="an Ed25519 private key in PEM, without a password",
            remedy="Make one with 'mpcvit token key'.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{path}, a key of another kind", expected="an Ed25519 key", remedy="Make one with 'mpcvit token key'."
        )
    return key


def _write(path: Path, text: str, *, replace: bool) -> None:
    """Write a secret file, which nobody else can read at any moment, and never half of it.

    Raises:
        ConfigError: it is there already, and may not be replaced.
    """
    if not replace and os.path.lexists(path):
        raise ConfigError(f"{path}, which is there already", expected="a new file", remedy="Give another name.")
    partial = path.with_name(f".{path.name}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    partial.replace(path)
