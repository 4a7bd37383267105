"""A compression pass in one file and a row of the documentation, as CONTRIBUTING.md says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.support.contributing import files_to_touch
from tests.support.toy_tree import ROOT, ToyTree

SOURCE = '''"""Smaller weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mpcvit.compress.compression import Compression, Notify
from mpcvit.models.vit import VisionTransformer


@dataclass(frozen=True, kw_only=True)
class Toy(Compression):
    """Multiply the head by a factor.

    Attributes:
        factor: any number.
    """

    name: ClassVar[str] = "toy"
    factor: float = 0.5

    def apply(self, model: VisionTransformer, images: torch.Tensor, report: Notify) -> VisionTransformer:
        model.head.weight.mul_(self.factor)
        report("done")
        return model
'''

SCRIPT = """
import json

import torch
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.compress import compress
from mpcvit.compress.settings import make_pass, pass_from_json
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.sizes import vit_6_4_32
from mpcvit.models.vit import VisionTransformer

torch.manual_seed(0)
model = VisionTransformer(vit_6_4_32(AttentionKind.RELU_SOFTMAX, Activation.RELU)).eval()
chosen = pass_from_json(make_pass("toy", ["factor=0.25"]).to_json())
smaller = compress(model, chosen, torch.randn(2, 3, 32, 32))
print(json.dumps({
    "applied": bool(torch.equal(smaller.head.weight, model.head.weight / 4)),
    "settings": chosen.to_json(),
    "listed": "factor=0.5" in CliRunner().invoke(app, ["compress", "--list"], env={"COLUMNS": "300"}).output,
}))
"""


def test_a_compression_pass_touches_two_files(toy_tree: ToyTree) -> None:
    """Its own, and the page that says what passes bring; the command lists it, and settings are read and written."""
    page = Path("docs/compression.md")
    (toy_tree.root / page).parent.mkdir()
    shutil.copy(ROOT / page, toy_tree.root / page)
    toy_tree.add("mpcvit/compress/passes/toy.py", SOURCE)
    toy_tree.change(str(page), "| none |", "| `toy factor=0.5` | | | | | | | | |\n| none |")
    found = json.loads(toy_tree.run(SCRIPT).splitlines()[-1])
    assert found == {"applied": True, "settings": {"pass": "toy", "factor": 0.25}, "listed": True}
    assert tuple(toy_tree.touched) == files_to_touch("A compression pass", "toy")
