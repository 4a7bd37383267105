"""What every compression pass makes of a model, on shares: the replayed reference bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.passes import PASSES
from mpcvit.compress.passes.evit import EvitPass
from mpcvit.compress.passes.lpvit import LPViT
from mpcvit.compress.passes.minivit import MiniViT
from mpcvit.compress.passes.mixed_rank import MixedRank
from mpcvit.compress.passes.nvit import NViT, prune_globally
from mpcvit.compress.passes.repavit import RePaViT
from mpcvit.compress.passes.spvit import SpvitPass
from mpcvit.compress.passes.token_schedule import schedule, with_schedule
from mpcvit.compress.passes.window_pool import WindowPoolPass
from mpcvit.export.factors import Factors
from mpcvit.export.vit import INPUT, export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, ReductionKind
from mpcvit.models.vit import VisionTransformer
from tests.support.columns import column, varied
from tests.support.fast import replay, run_on_fast
from tests.support.images import make_images, pixel_codes
from tests.support.mlp_variants import BASE, QUICK
from tests.support.models import make_model

CONFIG = varied(
    BASE,
    image_size=16,
    heads=((AttentionKind.SCALING,) * 2,) * 2 + ((AttentionKind.RELU_SOFTMAX,) * 2,) * 2,
    activation=(Activation.GELU,) * 4,
    lepe=2,
)
#: As in test_token_programs: larger weights give a residual stream of too many magnitudes.
_GAIN = 1.5

Change = Callable[[VisionTransformer, torch.Tensor], VisionTransformer]


def _units(config: ViTConfig) -> float:
    """A cost that needs no probes."""
    return float(sum(column(config, "hidden")) + 8 * sum(map(len, column(config, "heads"))))


def _tokens(config: ViTConfig) -> float:
    """Another."""
    return float(sum(block.entry.count + block.mlp.count for block in config.block_tokens))


CASES: dict[str, Change] = {
    "mixed_rank": lambda model, images: compress(
        model, MixedRank(reduction=0.2, step=1, compensation=5, residual=1), images
    ),
    "minivit": lambda model, images: compress(model, MiniViT(), images),
    "evit": lambda model, images: compress(model, EvitPass(ratio=0.7, blocks=(0, 2)), images),
    "spvit": lambda model, images: compress(model, SpvitPass(ratio=0.7, blocks=(1, 3)), images),
    "token_schedule": lambda model, images: with_schedule(
        model,
        schedule(model, images[:4], blocks=(1, 2), cost=_tokens, budget=0.8 * _tokens(CONFIG)),
        ReductionKind.EVIT,
    ),
    "window_pool": lambda model, images: compress(model, WindowPoolPass(blocks=(2,)), images),
    "repavit": lambda model, images: compress(model, RePaViT(theta=0.5), images),
    "nvit": lambda model, images: prune_globally(model, images, NViT(cost=0.8, granularity=4, refreshes=1), _units),
    "lpvit": lambda model, images: compress(model, LPViT(sparsity=0.3, block=4), images),
}
#: Fewer channels and tokens in one model, as a pipeline leaves it.
COMBINED: dict[str, Change] = {
    "spvit-evit": lambda model, images: compress(
        compress(model, SpvitPass(ratio=0.7, blocks=(1,)), images), EvitPass(ratio=0.7, blocks=(2,)), images
    ),
    "window_pool-repavit": lambda model, images: compress(
        compress(model, WindowPoolPass(blocks=(2,)), images), RePaViT(theta=0.5), images
    ),
}


def test_every_pass_has_a_case() -> None:
    """No pass goes unseen."""
    assert set(CASES) == set(PASSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *COMBINED])
def test_compressed_models_are_the_reference_bit_for_bit(name: str) -> None:
    """The Program is the smaller model in real arithmetic, and the fast engine gives the replayed reference."""
    model, images = make_model(CONFIG, gain=_GAIN), make_images(CONFIG, 48)
    smaller = {**CASES, **COMBINED}[name](model, images)
    assert smaller.config != model.config or sum(int((one == 0).sum()) for one in smaller.state_dict().values()) > sum(
        int((one == 0).sum()) for one in model.state_dict().values()
    )
    forms = (Factors.MERGED, Factors.KEPT) if name == "mixed_rank" else (Factors.MERGED,)
    for factors in forms:
        exported = export_vit(smaller, images, QUICK, factors=factors)
        assert exported.fidelity < 1e-9
        codes = {INPUT: pixel_codes(images[:1])[0]}
        run = run_on_fast(exported.program, exported.weights, codes)
        assert (run.output == replay(run, exported.weights, codes)).all()
