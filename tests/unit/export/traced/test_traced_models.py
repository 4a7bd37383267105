"""Whole modules: what parties compute on shares is the reference, bit for bit, and close to the module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.engines.masked.simulate import MaskedRun
from mpcvit.errors import RangeError
from mpcvit.export.exported import Exported
from mpcvit.export.proof import Proof
from tests.support.fast import replay, run_on_fast
from tests.support.traced import codes, difference, enlivened, exported

prepare_torchvision()

from timm import create_model  # noqa: E402

VIT: dict[str, Any] = {"img_size": 16, "patch_size": 8, "depth": 2, "embed_dim": 24, "num_heads": 2}
#: Small variants of timm's models that have no importer, whose ranges are proven.
PROVEN: dict[str, dict[str, Any]] = {
    "deit3_small_patch16_224": {**VIT, "depth": 1},
    "vit_small_patch14_reg4_dinov2": VIT,
    "swin_tiny_patch4_window7_224": {
        "img_size": 16,
        "patch_size": 2,
        "window_size": 4,
        "embed_dim": 12,
        "depths": (2, 1),
        "num_heads": (2, 2),
    },
}


def _run(found: Exported, size: int) -> MaskedRun:
    """An inference on shares, which equals the reference bit for bit."""
    inputs = {"image": codes(size)[0]}
    run = run_on_fast(found.program, found.weights, inputs)
    assert np.array_equal(replay(run, found.weights, inputs), run.output)
    return run


@pytest.mark.parametrize("name", PROVEN)
def test_models_of_timm_s_answer_on_shares(name: str) -> None:
    """Proven for every picture, exact in real arithmetic, close on integers, and the same on shares."""
    module = enlivened(create_model(name, num_classes=4, **PROVEN[name]))
    size = PROVEN[name]["img_size"]
    found = exported(module, size)
    assert Proof.of(found.program).calibrated == 0
    assert found.fidelity < 1e-9
    assert difference(module, found, size) < 0.03
    _run(found, size)


class Hybrid(nn.Module):
    """Convolutions with batch norms, channel attention and max pooling; windows with position biases; no layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(), nn.MaxPool2d(2)
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.SiLU(), nn.Conv2d(4, 8, 1), nn.Sigmoid()
        )
        self.local = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8))
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.table = nn.Parameter(torch.zeros(9, 2))
        self.register_buffer("index", torch.tensor([[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]))
        self.head = nn.Linear(8, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.stem(pictures)
        x = x + self.local(x * self.squeeze(x))
        x = torch.roll(x, (1, 1), (2, 3)).reshape(-1, 8, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 8)
        q, k, v = self.qkv(x).view(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(4, 4, 2).permute(2, 0, 1)
        weights = (0.5 * q @ k.transpose(-2, -1) + bias).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(-1, 4, 8))
        return self.head(x.reshape(len(pictures), -1, 8).mean(1))


def test_a_hybrid_answers_on_shares() -> None:
    """Of what is no layer norm: convolutions in groups, pooling, gates, windows, shifts, position biases."""
    module = enlivened(Hybrid())
    found = exported(module, 8, allow_calibrated=True)
    assert found.fidelity < 1e-9
    assert difference(module, found, 8) < 0.05
    _run(found, 8)


class Explosive(nn.Module):
    """Each layer squares what it reads: no range that fits is proven for every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(nn.Linear(48, 48) for _ in range(5)), nn.Linear(48, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).square()
        return self.head(x)


def test_what_cannot_be_proven_needs_leave() -> None:
    """Ranges of calibration are taken on demand only."""
    module = enlivened(Explosive())
    for parameter in module.parameters():
        parameter.data *= 0.5
    with pytest.raises(RangeError, match="--allow-calibrated"):
        exported(module, 4)
    assert Proof.of(exported(module, 4, allow_calibrated=True).program).calibrated > 0
