"""First parts of a ViT as models of their own."""

from __future__ import annotations

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.models.block import LayerRanks
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.prefix import Prefix, prefixed
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE
from tests.support.models import make_model

CONFIG = varied(BASE, heads=((AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX),) * 2)


def test_budgets_are_parsed() -> None:
    """Parts in any order, each once; anything else is refused with its form."""
    assert Prefix.parse("depth:4") == Prefix(depth=4)
    assert Prefix.parse("hidden:8, heads:1,depth:2") == Prefix(depth=2, heads=1, hidden=8)
    assert str(Prefix.parse("hidden:8,depth:2")) == "depth:2,hidden:8"
    for wrong in ("", "depth", "depth:0", "depth:-1", "depth:x", "depth:1,depth:2", "width:3", "depth=3"):
        with pytest.raises(ConfigError, match="PART:COUNT"):
            Prefix.parse(wrong)


def test_a_shorter_model_is_the_first_blocks_and_the_head() -> None:
    """The logits are those of the blocks run by hand, and no weight differs."""
    model, images = make_model(CONFIG), make_images(CONFIG, 4)
    part = prefixed(model, Prefix(depth=1))
    assert part.config.depth == 1
    with torch.inference_mode():
        stream = model.blocks[0](model.embed(images), "block0", {})
        expected = model.head(model.norm(stream.mean(1)))
        torch.testing.assert_close(part(images), expected)
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in part.state_dict().items())


def test_a_narrower_model_is_the_whole_one_with_what_is_cut_set_to_zero() -> None:
    """Channels and heads whose way out is zero do nothing."""
    model, images = make_model(CONFIG), make_images(CONFIG, 4)
    part = prefixed(model, Prefix(heads=1, hidden=6))
    assert [len(heads) for heads in column(part.config, "heads")] == [1, 1]
    assert column(part.config, "hidden") == (6, 6)
    assert part.config.head_dim == model.config.head_dim
    silenced = VisionTransformer(CONFIG).eval()
    silenced.load_state_dict(model.state_dict())
    with torch.inference_mode():
        for block in silenced.blocks:
            block.attn.proj.weight[:, model.config.head_dim :] = 0  # type: ignore[union-attr, index, operator]
            block.mlp.fc2.weight[:, 6:] = 0  # type: ignore[union-attr, index, operator]
        torch.testing.assert_close(part(images), silenced(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("prefix", "change", "expected"),
    [
        (Prefix(depth=3), {}, "1 to 2"),
        (Prefix(heads=3), {}, "1 to 2"),
        (Prefix(hidden=17), {}, "1 to 16"),
        (Prefix(depth=2, heads=2), {}, "less"),
        (Prefix(hidden=8), {"activation": (Activation.IDENTITY, Activation.RELU)}, "first ones"),
        (Prefix(hidden=8), {"ranks": (LayerRanks(fc1=4),) * 2}, "first ones"),
        (Prefix(heads=1), {"shares": (False, True)}, "first ones"),
    ],
)
def test_what_cannot_be_left_is_refused(prefix: Prefix, change: dict[str, tuple[object, ...]], expected: str) -> None:
    """More than there is, all there is, and what folding would mix with what is cut."""
    with pytest.raises(ConfigError, match=expected):
        prefix.of(varied(CONFIG, **change))  # type: ignore[arg-type]
