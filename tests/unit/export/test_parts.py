"""Where the nodes of Programs come from."""

from __future__ import annotations

from collections import Counter

import pytest

from mpcvit.export.builder import Builder, Precision
from mpcvit.export.efficientformer import export_efficientformer
from mpcvit.export.exported import Exported
from mpcvit.export.parts import Part, Role
from mpcvit.export.vit import export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, ReductionKind
from mpcvit.models.token_flow import Reduction
from tests.support.columns import configured, varied
from tests.support.efficientformers import SMALL, make_efficientformer, make_pictures
from tests.support.images import make_images
from tests.support.models import make_model

CONFIG = configured(
    image_size=8,
    patch_size=2,
    classes=3,
    dim=12,
    hidden=16,
    heads=((AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING), (AttentionKind.SCALING,) * 2),
    activation=(Activation.RELU, Activation.IDENTITY),
)


def exported(config: ViTConfig) -> Exported:
    """A coarse export."""
    precision = Precision(relative=2.0**-6, calibrated=True)
    return export_vit(make_model(config), make_images(config, 4), precision)


def test_scopes_nest() -> None:
    """An inner scope keeps the block and the kind of the one around it, which is there again behind it."""
    b = Builder(Precision())
    found = []

    def note() -> None:
        found.append(b._part)

    note()
    with b.scope(Role.ATTENTION, block=3):
        with b.scope(Role.HEADS, kind=AttentionKind.SCALING), b.scope(Role.WEIGHTS):
            note()
        note()
    assert found == [Part(Role.STEM), Part(Role.WEIGHTS, 3, AttentionKind.SCALING), Part(Role.ATTENTION, 3)]


def test_every_node_has_its_part() -> None:
    """Names, which people read, say the same as parts, which code reads."""
    done = exported(CONFIG)
    assert done.parts.keys() == {node.name for node in done.program.nodes}
    roles = Counter(part.role for part in done.parts.values())
    assert roles.keys() == set(Role)
    for name, part in done.parts.items():
        block, _, inner = name.partition(".")
        if name.endswith(".entry.branch") or inner == "entry":
            assert part == Part(Role.MLP, 0), name  # what the first block's MLP wrote is opened and added there
        elif block.startswith("block"):
            assert f"block{part.block}" == block
            assert (part.role in (Role.MLP, Role.ACTIVATION)) != inner.startswith(("attn.", "residual"))
            assert (part.kind is not None) == (part.role in (Role.HEADS, Role.WEIGHTS))
            assert part.kind is None or inner.startswith(f"attn.{part.kind}.")
        else:
            assert part == Part(Role.STEM if name.startswith(("image", "patches", "embed")) else Role.HEAD)
    assert [name for name, part in done.parts.items() if part.role is Role.WEIGHTS] == [
        "block0.attn.relu_softmax.weights"
    ]
    assert [name for name, part in done.parts.items() if part.role is Role.ACTIVATION] == ["block0.act"]


@pytest.mark.parametrize("kind", list(ReductionKind))
def test_reductions_belong_to_the_attention_of_their_block(kind: ReductionKind) -> None:
    """Wherever in a block they are."""
    reduction = Reduction(kind=kind, keep=4 if kind is ReductionKind.WINDOW_POOL else 6)
    parts = exported(varied(CONFIG, reduction=(None, reduction))).parts
    reduced = {part for name, part in parts.items() if name.startswith("block1.reduce")}
    assert reduced == {Part(Role.ATTENTION, 1)}


def test_blocks_of_an_efficientformer_are_counted_through_all_stages() -> None:
    """Pool blocks and attention blocks alike; convolutions between stages belong to none."""
    precision = Precision(relative=2.0**-4, tolerance=2.0**-5, activation_tolerance=2.0**-4, calibrated=True)
    parts = export_efficientformer(make_efficientformer(), make_pictures(SMALL, 4), precision).parts
    prefixes = {"stage0.pool1.": 0, "stage1.pool1.": 1, "stage1.attention1.": 2}
    for name, part in parts.items():
        assert part.block == next((block for prefix, block in prefixes.items() if name.startswith(prefix)), None)
    assert {part.role for part in parts.values()} == {Role.STEM, Role.ATTENTION, Role.MLP, Role.ACTIVATION, Role.HEAD}


def test_parts_are_no_part_of_the_program() -> None:
    """They change no digest, and no file holds them."""
    done = exported(CONFIG)
    assert "parts" not in done.program.to_json()
