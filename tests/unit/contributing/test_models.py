"""An attention kind and a backbone, three files each, as CONTRIBUTING.md says."""

from __future__ import annotations

import json

from tests.support.contributing import files_to_touch
from tests.support.toy_tree import ToyTree

KERNEL = '''"""Half of what scaling heads give: S V / (2 M)."""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.models.attention.kernel import ScoreKernel
from mpcvit.models.kinds import AttentionKind


class ToyHeads(ScoreKernel):
    """Toy heads."""

    kind: ClassVar[AttentionKind] = AttentionKind.TOY

    def mix(self, scores_BHNM: torch.Tensor, v_BHMD: torch.Tensor) -> torch.Tensor:
        return scores_BHNM @ v_BHMD / (2 * v_BHMD.shape[-2])
'''

HEADS_LOWERING = '''"""Toy heads: scaling heads, and one division more."""

from __future__ import annotations

from mpcvit.export.attention.heads import AttentionLowering, Heads
from mpcvit.export.attention.scaling import lower_scaling
from mpcvit.export.builder import Builder, Value
from mpcvit.models.kinds import AttentionKind


def lower_toy(b: Builder, name: str, heads: Heads) -> Value:
    """Return the output of toy heads."""
    return b.rescale(f"{name}.half", b.scale(f"{name}.halved", lower_scaling(b, name, heads), 0.5, 1))


LOWERING = AttentionLowering(AttentionKind.TOY, lower_toy)
'''

HEADS_SCRIPT = """
import json
from pathlib import Path

import torch

from mpcvit.export.vit import export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.random_weights import enliven, noise
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.trained import load_model, save_model

torch.manual_seed(0)
sizes = {"depth": 1, "head_count": 2, "hidden": 8, "image_size": 8, "patch_size": 4, "classes": 3, "dim": 8}
plain, masked = (
    VisionTransformer(ViTConfig.uniform(AttentionKind("toy"), Activation.RELU, gmm=gmm, **sizes)).eval()
    for gmm in (0, 1)
)
enliven(plain)
save_model(masked, Path("kept"))
again, images = load_model(Path("kept")), noise(plain.config, 8)
print(json.dumps({
    "kept": bool(torch.equal(masked(images), again(images))),
    "faithful": export_vit(plain, images).fidelity < 1e-9,
}))
"""

BACKBONE = '''"""A linear classifier of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """A toy."""

    image_size: int
    classes: int
    channels: int = 3

    family: ClassVar[str] = "toy"


class ToyModel(nn.Module):
    """The model of a :class:`ToyConfig`."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Linear(config.channels * config.image_size**2, config.classes)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits [B, classes]."""
        return self.head(images_BCHW.flatten(1))
'''

BACKBONE_EXPORT = '''"""Export of a toy."""

from __future__ import annotations

import torch

from mpcvit.export.affine import Affine
from mpcvit.export.exported import begin, finish


@torch.no_grad()
def export_toy(model, images, precision, reveal, factors, normalisation):
    """Return the Program of a toy."""
    config = model.config
    shape = (config.channels, config.image_size, config.image_size)
    b, image = begin(images, shape, normalisation, precision)
    layer = Affine.of(model.head)
    pixels = config.image_size**2
    gain, offset = (
        part.expand(config.channels).repeat_interleave(pixels) for part in (normalisation.gain, normalisation.offset)
    )
    row = b.reshape("row", image, 1, config.channels * pixels)
    wide = b.wide_affine("head", row, gain[:, None] * layer.weight, layer.bias + offset @ layer.weight)
    logits = b.reshape("logits", b.rescale("head", wide), config.classes)
    return finish(b, model, normalisation, image, logits, reveal)


EXPORT = export_toy
'''

BACKBONE_SCRIPT = """
import json
from pathlib import Path

import torch

from mpcvit.export.model import export_model
from mpcvit.models.backbones import BACKBONES
from mpcvit.models.random_weights import noise
from mpcvit.store.trained import load_any_model, load_model, save_model
from mpcvit.errors import ConfigError

torch.manual_seed(0)
toy = BACKBONES["toy"]
model = toy.model(toy.config(image_size=4, classes=3)).eval()
save_model(model, Path("kept"))
again, images = load_any_model(Path("kept")), noise(model.config, 8)
try:
    load_model(Path("kept"))
    refused = ""
except ConfigError as error:
    refused = error.got
print(json.dumps({
    "kept": type(again) is toy.model and bool(torch.equal(model(images), again(images))),
    "faithful": export_model(again, images).fidelity < 1e-9,
    "no ViT": "family toy" in refused,
}))
"""


def test_an_attention_kind_touches_three_files(toy_tree: ToyTree) -> None:
    """Its module, its lowering, its name with facts; models with it are saved, masked and exported faithfully."""
    toy_tree.add("mpcvit/models/attention/toy.py", KERNEL)
    toy_tree.add("mpcvit/export/attention/toy.py", HEADS_LOWERING)
    toy_tree.change(
        "mpcvit/models/kinds.py",
        '    POOLED_KV = "pooled_kv"\n',
        '    POOLED_KV = "pooled_kv"\n    TOY = "toy"\n',
    )
    facts = "ATTENTION: dict[AttentionKind, AttentionFacts] = {\n"
    toy_tree.change("mpcvit/models/kinds.py", facts, facts + "    AttentionKind.TOY: AttentionFacts(),\n")
    found = json.loads(toy_tree.run(HEADS_SCRIPT).splitlines()[-1])
    assert found == {"kept": True, "faithful": True}
    assert tuple(dict.fromkeys(toy_tree.touched)) == files_to_touch("An attention kind", "toy")


def test_a_backbone_touches_three_files(toy_tree: ToyTree) -> None:
    """Its model, its export, its row; models of it are saved, loaded by their family, and exported faithfully."""
    toy_tree.add("mpcvit/models/toy.py", BACKBONE)
    toy_tree.add("mpcvit/export/toy.py", BACKBONE_EXPORT)
    row = "    EfficientFormerConfig.family: ModelFamily(EfficientFormerConfig, EfficientFormer),\n"
    toy_tree.change(
        "mpcvit/models/backbones.py",
        row,
        row + "    ToyConfig.family: ModelFamily(ToyConfig, ToyModel),\n",
    )
    first = "from mpcvit.models.vit import VisionTransformer\n"
    toy_tree.change("mpcvit/models/backbones.py", first, "from mpcvit.models.toy import ToyConfig, ToyModel\n" + first)
    found = json.loads(toy_tree.run(BACKBONE_SCRIPT).splitlines()[-1])
    assert found == {"kept": True, "faithful": True, "no ViT": True}
    assert tuple(dict.fromkeys(toy_tree.touched)) == files_to_touch("A backbone", "toy")
