"""AES in kernels, by whatever instructions there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from mpcvit.fss import aes
from mpcvit.fss.checks import Words
from tests.support.fss_keys import uniform

#: FIPS 197, appendix B and appendix C.1: key, plaintext, ciphertext.
STANDARD = [
    ("2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"),
    ("000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
]


def _words(raw: bytes) -> Words:
    return np.frombuffer(raw, dtype=np.uint64)


@pytest.mark.parametrize(("key", "plain", "cipher"), STANDARD)
def test_the_standard_s_examples(key: str, plain: str, cipher: str) -> None:
    """In every block, with this machine's instructions and without."""
    keys, block = aes.round_keys(_words(bytes.fromhex(key))), _words(bytes.fromhex(plain))
    blocks, out = np.tile(block, 16), np.empty(32, dtype=np.uint64)
    aes.encrypt_blocks(keys, blocks, out)
    assert out.tobytes() == 16 * bytes.fromhex(cipher)
    assert np.array(aes.encrypted_block(keys, *block), dtype=np.uint64).tobytes() == bytes.fromhex(cipher)


@pytest.mark.parametrize("count", [16, 17, 31, 32, 100])
def test_is_what_another_library_says(count: int) -> None:
    """Of any number of blocks from one group on; the last group may overlap the one before."""
    key, blocks = uniform((2,), number=3), uniform((2 * count,))
    out = np.empty_like(blocks)
    aes.encrypt_blocks(aes.round_keys(key), blocks, out)
    expected = Cipher(AES128(key.tobytes()), ECB()).encryptor().update(blocks.tobytes())  # noqa: S305
    assert out.tobytes() == expected


OTHERS = {"none": "", "aes-ni": "+aes,+sse4.2,+ssse3"}


@pytest.mark.slow
@pytest.mark.skipif(aes.INSTRUCTIONS is aes.Instructions.ARMV8, reason="other instructions of x86-64 are tried")
@pytest.mark.parametrize("instructions", list(OTHERS))
def test_processors_with_other_instructions_give_the_same(instructions: str, tmp_path: Path) -> None:
    """Kernels compiled for them pass the known answers; their cache is their own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": OTHERS[instructions],
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    found = [sys.executable, "-c", "from mpcvit.fss import aes; print(aes.INSTRUCTIONS)"]
    told = subprocess.run(found, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [instructions]
    tests = [f"{Path(__file__).parent / name}.py" for name in ("test_known_answers", "test_tree_hash")]
    command = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={tmp_path / 'pytest'}", *tests]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
