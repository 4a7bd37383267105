"""Training on several processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Both ranks of a gloo group begin and end with the same finite weights, though each has only half of a batch."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    script = Path(__file__).parents[2] / "support" / "train_replica.py"
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**common, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, said = rank.communicate(timeout=120)
            assert rank.returncode == 0, said
    finally:
        for rank in ranks:
            rank.kill()
    for moment in ("begun", "rank"):
        first, second = (load_file(tmp_path / f"{moment}{rank}.safetensors") for rank in range(2))
        assert all(tensor.isfinite().all() for tensor in first.values())
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2  # one writer
