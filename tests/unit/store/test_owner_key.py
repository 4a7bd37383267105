"""The owner's key: made, kept from others, read, and used to sign shares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.errors import ConfigError, ModelFileError, NotSigned, ProgramMismatch
from mpcvit.store.exported import ModelFolder
from mpcvit.store.owner_key import make_key, read_key
from mpcvit.store.shared import load_share, share_model
from mpcvit.wire.owners import ANYBODY, Owners, fingerprint


def test_a_key_is_for_its_owner_s_eyes(tmp_path: Path) -> None:
    """The private file is mode 0600 whatever the umask; the public one names the same key; neither is overwritten."""
    before = os.umask(0)
    try:
        key, private, public = make_key(tmp_path / "ann.v1")
    finally:
        os.umask(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ann.v1.key", "ann.v1.pub"]
    assert private.stat().st_mode & 0o777 == 0o600
    assert fingerprint(read_key(private).public_key()) == fingerprint(key.public_key())
    content = [path.read_bytes() for path in (private, public)]
    with pytest.raises(ConfigError, match=r"ann\.v1\.key: File exists"):
        make_key(tmp_path / "ann.v1")
    assert [path.read_bytes() for path in (private, public)] == content
    with pytest.raises(ConfigError, match="No such file or directory"):
        make_key(tmp_path / "nowhere/ann")


def test_half_a_key_is_not_left(tmp_path: Path) -> None:
    """If the public file cannot be written there is no private one either."""
    (tmp_path / "ann.pub").write_text("mine")
    with pytest.raises(ConfigError, match=r"ann\.pub: File exists"):
        make_key(tmp_path / "ann")
    assert [path.name for path in tmp_path.iterdir()] == ["ann.pub"]
    assert (tmp_path / "ann.pub").read_text() == "mine"


def test_what_is_no_private_key_is_refused(tmp_path: Path) -> None:
    """A missing file, a password, another kind, the public half: CONFIG, with the path."""
    key, _, public = make_key(tmp_path / "ann")
    pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
    (tmp_path / "locked.key").write_bytes(key.private_bytes(*pkcs8, BestAvailableEncryption(b"secret")))
    (tmp_path / "other.key").write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*pkcs8, NoEncryption()))
    wrong = {
        tmp_path / "missing.key": "FileNotFoundError reading .*missing.key",
        tmp_path / "locked.key": "locked.key, a key with a password",
        tmp_path / "other.key": "other.key, a private key of another kind",
        public: "ann.pub, which is not a PEM private key",
    }
    for path, words in wrong.items():
        with pytest.raises(ConfigError, match=words):
            read_key(path)


@pytest.fixture
def signed(tiny_folder: Path, tmp_path: Path) -> tuple[Owners, list[Path]]:
    """An owner, and share folders that it signed."""
    key, _, public = make_key(tmp_path / "ann")
    _, folders = share_model(ModelFolder.load(tiny_folder), 2, tmp_path / "shares", key=key)
    return Owners.read([public]), folders


def test_shares_of_the_owner_are_loaded(signed: tuple[Owners, list[Path]]) -> None:
    """With the owner's name; who asks for no owner loads them too, and hands the signature on."""
    owners, folders = signed
    shares = [load_share(folder, index, owners) for index, folder in enumerate(folders)]
    assert len({share.owner for share in shares}) == len({share.signature for share in shares}) == 1
    assert owners.check(shares[0].manifest, shares[0].signature, "") == shares[0].owner
    unasked = load_share(folders[0], 0, ANYBODY)
    assert (unasked.owner, unasked.signature) == (None, shares[0].signature)


def test_any_byte_of_a_signed_folder_counts(signed: tuple[Owners, list[Path]]) -> None:
    """A flipped bit of manifest or signature is refused as one of a share is; so are missing and longer signatures."""
    owners, (folder, _) = signed
    for name in ("manifest.json", "manifest.sig"):
        right = (folder / name).read_bytes()
        for offset in range(len(right)):
            damaged = bytearray(right)
            damaged[offset] ^= 1 << offset % 8
            (folder / name).write_bytes(damaged)
            with pytest.raises((NotSigned, ModelFileError)):
                load_share(folder, 0, owners)
        (folder / name).write_bytes(right)
    for wrong in (b"", right[:-1], right + b"\n"):
        (folder / "manifest.sig").write_bytes(wrong)
        with pytest.raises(NotSigned):
            load_share(folder, 0, owners)
    (folder / "manifest.sig").unlink()
    with pytest.raises(NotSigned, match=r"'tiny' in .*party0, unsigned"):
        load_share(folder, 0, owners)


def test_a_consistent_forgery_is_refused(signed: tuple[Owners, list[Path]], tiny_folder: Path, tmp_path: Path) -> None:
    """Somebody who shares another model, with the owner's signature beside it: only the checksums would be right."""
    owners, folders = signed
    _, forged = share_model(ModelFolder.load(tiny_folder), 2, tmp_path / "forged")
    shutil.copy(folders[0] / "manifest.sig", forged[0])
    assert load_share(forged[0], 0, ANYBODY).owner is None
    with pytest.raises(NotSigned, match="wrong signature or from another owner"):
        load_share(forged[0], 0, owners)
    shutil.copy(folders[0] / "manifest.json", forged[0])
    with pytest.raises((ModelFileError, ProgramMismatch)):
        load_share(forged[0], 0, owners)


def _run(*arguments: str, code: int = 0) -> dict:
    run = CliRunner().invoke(app, [*arguments, "--json"])
    assert run.exit_code == code, run.output
    return json.loads(run.stdout)


def test_from_the_command_line(tiny_folder: Path, tmp_path: Path) -> None:
    """``model keygen`` and ``model share --sign``; OpenSSL verifies what they write."""
    made = _run("model", "keygen", str(tmp_path / "ann"))
    shared = _run("model", "share", str(tiny_folder), "--out", str(tmp_path / "shares"), "--sign", made["key"])
    assert shared["owner_sha256"] == made["owner_sha256"]
    for index, folder in enumerate(map(Path, shared["folders"])):
        assert load_share(folder, index, Owners.read([Path(made["public_key"])])).owner == made["owner_sha256"]
    unsigned = _run("model", "share", str(tiny_folder), "--out", str(tmp_path / "unsigned"))
    assert unsigned["owner_sha256"] is None
    assert not list((tmp_path / "unsigned").rglob("*.sig"))
    again = _run("model", "keygen", str(tmp_path / "ann"), code=4)["error"]
    assert again["reason"] == "CONFIG"
    refused = _run("model", "share", str(tiny_folder), "--out", str(tmp_path / "x"), "--sign", "missing", code=4)
    assert "reading missing" in refused["error"]["got"]
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_agrees(signed: tuple[Owners, list[Path]], tmp_path: Path) -> None:
    """Whoever has no mpcvit can verify a manifest, and its files by sha256sum."""
    folder = signed[1][0]
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(tmp_path / "ann.pub")]
    files = ["-in", str(folder / "manifest.json"), "-sigfile", str(folder / "manifest.sig")]
    assert subprocess.run([*command, *files], capture_output=True, check=False).returncode == 0
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b" ")
    assert subprocess.run([*command, *files], capture_output=True, check=False).returncode == 1
