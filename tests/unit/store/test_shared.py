"""Shares of models on disk."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from mpcvit.errors import ConfigError, ModelFileError, ProgramMismatch
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import join, split
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import load_share, share_model
from mpcvit.wire.owners import ANYBODY


@pytest.mark.parametrize("parties", [2, 3])
def test_model_shares_add_up_and_are_private(tiny_folder: Path, tmp_path: Path, parties: int) -> None:
    """Loaded shares join to the weights; share files are readable by their owner only."""
    model = ModelFolder.load(tiny_folder)
    manifest, folders = share_model(model, parties, tmp_path)
    shares = [load_share(folder, index, ANYBODY) for index, folder in enumerate(folders)]
    for name, codes in model.weights.items():
        assert (join([share.weights[name] for share in shares]) == codes).all()
        assert not (shares[-1].weights[name] == codes).any()
    assert all(share.manifest == manifest for share in shares)
    assert all((folder / "share.safetensors").stat().st_mode & 0o077 == 0 for folder in folders)
    again, _ = share_model(model, parties, tmp_path / "again")
    assert again.share_set != manifest.share_set


def test_shares_do_not_depend_on_the_order_in_memory(tiny_folder: Path, tmp_path: Path) -> None:
    """Exported weights may lie column by column; what is shared of them is the same as after saving and loading."""
    loaded = ModelFolder.load(tiny_folder)
    columns = replace(loaded, weights={name: np.asfortranarray(codes) for name, codes in loaded.weights.items()})
    assert not all(codes.flags.c_contiguous for codes in columns.weights.values())
    _, folders = share_model(columns, 2, tmp_path)
    shares = [load_share(folder, index, ANYBODY) for index, folder in enumerate(folders)]
    for name, codes in loaded.weights.items():
        assert (join([share.weights[name] for share in shares]) == codes).all()


def test_wrong_share_folders_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    """Another party's folder, a swapped program, a missing file: each a typed error."""
    _, folders = share_model(ModelFolder.load(tiny_folder), 2, tmp_path)
    with pytest.raises(ModelFileError, match="another party's share"):
        load_share(folders[0], 1, ANYBODY)
    with pytest.raises(ModelFileError, match="another party's share"):
        load_share(folders[1], 0, ANYBODY)
    document = json.loads((folders[0] / "program.json").read_text())
    document["nodes"][0]["type"]["hi"] += 1
    (folders[0] / "program.json").write_text(json.dumps(document))
    with pytest.raises(ProgramMismatch):
        load_share(folders[0], 0, ANYBODY)
    (folders[1] / "manifest.json").unlink()
    with pytest.raises(ModelFileError, match=r"manifest\.json"):
        load_share(folders[1], 1, ANYBODY)


def _offsets(size: int) -> list[int]:
    """The first 200 bytes of a file, its last, and some from everywhere between."""
    rng = np.random.default_rng(0)
    return [*range(min(200, size)), *map(int, rng.integers(0, size, 50)), size - 1]


@pytest.mark.parametrize("name", ["share.safetensors", "program.json"])
@pytest.mark.parametrize("index", [0, 1])
def test_a_flipped_bit_is_refused(tiny_folder: Path, tmp_path: Path, name: str, index: int) -> None:
    """Wherever it is: of a seed, masked codes, a header or a blank. The message names the file."""
    _, folders = share_model(ModelFolder.load(tiny_folder), 2, tmp_path)
    path = folders[index] / name
    right = path.read_bytes()
    for offset in _offsets(len(right)):
        damaged = bytearray(right)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        with pytest.raises((ModelFileError, ProgramMismatch)) as caught:
            load_share(folders[index], index, ANYBODY)
        assert str(path) in caught.value.got
    path.write_bytes(right)
    assert load_share(folders[index], index, ANYBODY).index == index


@pytest.mark.parametrize("name", ["share.safetensors", "program.json", "manifest.json"])
def test_a_file_that_is_cut_off_or_longer_is_refused(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    """At any length but the right one: a copy that stopped, or one that something was added to."""
    _, folders = share_model(ModelFolder.load(tiny_folder), 2, tmp_path)
    path = folders[1] / name
    right = path.read_bytes()
    for wrong in (b"", right[:1], right[: len(right) // 2], right[:-1], right + b"\n", right + right):
        path.write_bytes(wrong)
        with pytest.raises((ModelFileError, ProgramMismatch)):
            load_share(folders[1], 1, ANYBODY)


def test_files_of_another_sharing_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    """The same model shared twice: files of both do not go together."""
    model = ModelFolder.load(tiny_folder)
    _, first = share_model(model, 2, tmp_path / "first")
    _, second = share_model(model, 2, tmp_path / "second")
    (first[1] / "share.safetensors").write_bytes((second[1] / "share.safetensors").read_bytes())
    with pytest.raises(ModelFileError, match=r"share\.safetensors, which is damaged"):
        load_share(first[1], 1, ANYBODY)


def test_digests_say_nothing_of_weights_to_who_holds_the_seeds(tiny_folder: Path, tmp_path: Path) -> None:
    """A party that guesses the weights right still cannot compute the digest of the last party's file: it is salted."""
    model = ModelFolder.load(tiny_folder)
    manifest, folders = share_model(model, 2, tmp_path)
    seed = load((folders[0] / "share.safetensors").read_bytes())["seed"].tobytes()
    prg = Prg(seed)
    guessed = {name: split(codes, [prg], manifest.share_set, name) for name, codes in model.weights.items()}
    raw = (folders[1] / "share.safetensors").read_bytes()
    held = load(raw)
    assert all((held[name] == guessed[name]).all() for name in held)
    assert manifest.share_sha256[1] == hashlib.sha256(raw).hexdigest()
    assert manifest.share_sha256[1] != hashlib.sha256(save(guessed)).hexdigest()
    salts = [json.loads(_header(folder))["__metadata__"]["salt"] for folder in folders]
    assert [len(bytes.fromhex(salt)) for salt in salts] == [32, 32]
    assert salts[0] != salts[1]
    assert save(guessed, metadata={"salt": salts[1]}) == raw


def _header(folder: Path) -> bytes:
    raw = (folder / "share.safetensors").read_bytes()
    return raw[8 : 8 + int.from_bytes(raw[:8], "little")]


def test_sharing_does_not_overwrite(tiny_folder: Path, tmp_path: Path) -> None:
    """Old shares stay unless their replacement is asked for; then none of them is left, even of more parties."""
    model = ModelFolder.load(tiny_folder)
    share_model(model, 3, tmp_path)
    before = (tmp_path / "party0/share.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="party0, party1, party2"):
        share_model(model, 2, tmp_path)
    assert (tmp_path / "party0/share.safetensors").read_bytes() == before
    manifest, folders = share_model(model, 2, tmp_path, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["party0", "party1"]
    assert [load_share(folder, index, ANYBODY).manifest for index, folder in enumerate(folders)] == [manifest] * 2


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_failed_sharing_leaves_nothing(
    failing: int, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither share folders nor seeds, wherever it failed; old shares stay as they were."""
    model = ModelFolder.load(tiny_folder)
    share_model(model, 2, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    real, count = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        count.append(path)
        if len(count) == failing:
            real(path, content[: len(content) // 2])
            raise OSError(28, os.strerror(28))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        share_model(model, 2, tmp_path, replace=True)
    count.clear()
    with pytest.raises(ConfigError, match="No space left on device"):
        share_model(model, 2, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["party0", "party1"]
    assert {path: path.read_bytes() for path in before} == before
