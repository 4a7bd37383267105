"""Each work-around is still needed; when one of these fails, delete it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _import_fails(module: str, message: str) -> bool:
    run = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return run.returncode != 0 and message in run.stderr


def test_crypten_still_needs_the_alias() -> None:
    """Plain ``import crypten`` dies in its ONNX converter."""
    assert _import_fails("crypten", "torch.onnx._internal.registration"), (
        "crypten imports by itself: delete mpcvit.compat.prepare_crypten"
    )


def test_torchvision_still_needs_the_operators() -> None:
    """Plain ``import torchvision`` dies beside a CPU build of torch."""
    import torch

    if torch.version.cuda:
        pytest.skip("needs a CPU build of torch; with a CUDA build torchvision is whole")
    assert _import_fails("torchvision", "torchvision::"), (
        "torchvision imports by itself: delete mpcvit.compat.prepare_torchvision"
    )


def test_muon_still_computes_in_bfloat16() -> None:
    """timm's default is bfloat16, and the work-around changes it."""
    code = """
import inspect, torch
from mpcvit.compat import muon_in_float32, prepare_torchvision
prepare_torchvision()
from timm.optim import muon
default = inspect.signature(muon.zeropower_via_newtonschulz).parameters['dtype'].default
assert default is torch.bfloat16, 'delete mpcvit.compat.muon_in_float32'
muon_in_float32()
muon_in_float32()
assert muon.zeropower_via_newtonschulz.keywords == {'dtype': torch.float32}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
