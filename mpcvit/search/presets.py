"""Named searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from mpcvit.errors import ConfigError
from mpcvit.export.builder import Precision
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis
from mpcvit.models.sizes import vit_6_4_32, vit_7_4_32
from mpcvit.pricing.random_export import PRECISION
from mpcvit.search.relaxed import Pair
from mpcvit.search.sampler import Sampling
from mpcvit.search.space import Space
from mpcvit.train.config import FloatFormat, ObjectiveName, Pipeline, TrainConfig
from mpcvit.train.recipes import RECIPES

_SM, _RS, _SC = AttentionKind.SOFTMAX, AttentionKind.RELU_SOFTMAX, AttentionKind.SCALING


class SearchStage(StrEnum):
    """What a search does, in this order."""

    SUPERNET = "supernet"  # relax, train, discretise, train anew
    ANNEAL = "anneal"  # switch a trained model's operators off
    SAMPLE = "sample"  # try configurations


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Everything that determines a search, but for data, network, budget and device.

    Attributes:
        base: the architecture; pictures give its image size, channels and classes.
        stages: what is done.
        training: of every candidate. Its validation pictures are held out from everything.
        search: of the relaxed model (supernet) or of the switches (anneal).
        penalty: weight of the L1 terms.
        weighted: whether a switch's term is in proportion to the seconds that it saves; else plain L1.
        pair: the expensive kind of heads and the cheap one; None to leave heads.
        gate_axis: what activations are gated by; None to leave them.
        mus: shares of switches to keep; each gives a candidate.
        block_mus: shares of a supernet's blocks to keep expensive heads in, where ``mus`` are of single heads.
        space: what the sampler chooses from; its base is replaced by this one's.
        method, trials, warm_start: of the sampler.
        precision: how models are to be exported, for prices.
        pictures: number of synthetic ones when there is no data; 0 if it must be given.
    """

    name: str
    base: ViTConfig
    stages: tuple[SearchStage, ...]
    training: TrainConfig
    search: TrainConfig
    penalty: float = 1e-5
    weighted: bool = True
    pair: Pair | None = None
    gate_axis: GateAxis | None = None
    mus: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    block_mus: tuple[float, ...] = ()
    space: Space | None = None
    method: Sampling = Sampling.NSGA2
    trials: int = 40
    warm_start: int = 10
    precision: Precision = PRECISION
    pictures: int = 0

    def shortened(self, epochs: int) -> Preset:
        """Return the same search with trainings of at most ``epochs`` epochs."""
        return replace(self, training=self.training.shortened(epochs), search=self.search.shortened(epochs))


def preset(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset '{name}'", expected=f"one of {', '.join(PRESETS)}", remedy="Correct --preset.")
    return PRESETS[name]()


def smoke() -> Preset:
    """All machinery in under five minutes on two CPU cores: a tiny model, and pictures of shapes made on the spot."""
    base = ViTConfig.uniform(
        _RS, Activation.RELU, depth=3, head_count=4, image_size=16, patch_size=4, classes=4, dim=32, hidden=64
    )
    training = TrainConfig(
        model="smoke",
        epochs=16,
        batch_size=32,
        lr=3e-3,
        pipeline=Pipeline.TENSORS,
        crop_scale=0.9,
        smoothing=0.0,
        validation=200,
        precision=FloatFormat.FLOAT32,  # so small that conversions would take longer than they save
    )
    space = Space(
        base=base,
        kinds=(_SM, _RS, _SC),
        activations=(Activation.GELU, Activation.RELU, Activation.IDENTITY),
        dims=(16, 32),
    )
    return Preset(
        name="smoke",
        base=base,
        stages=(SearchStage.SUPERNET, SearchStage.SAMPLE),
        training=training,
        search=training,
        penalty=1e-3,
        pair=(_RS, _SC),
        mus=(0.35,),
        block_mus=(0.35,),
        space=space,
        trials=10,
        warm_start=6,
        pictures=840,
    )


def mpcvit() -> Preset:
    """MPCViT's search on its CIFAR size: 300 epochs of supernet, then each share mu trained anew for 600.

    Its four shares of single heads, and as many of whole blocks, which save rounds.
    """
    recipe = RECIPES["mpcvit_cifar10"]()
    return Preset(
        name="mpcvit",
        base=vit_7_4_32(_RS, Activation.GELU),
        stages=(SearchStage.SUPERNET,),
        training=recipe,
        search=replace(recipe.shortened(300), objective=ObjectiveName.CROSS_ENTROPY),
        pair=(_RS, _SC),
        block_mus=(0.1, 0.3, 0.5, 0.7),
    )


def mpcvit_small() -> Preset:
    """MPCViT's search on a size that two CPU cores train, from a trained model's weights instead of from none.

    Give that model, of recipe ``cifar10_teacher_small``, with ``--model``: it teaches every candidate, too.
    """
    recipe = RECIPES["cifar10_relu_softmax_small"]()
    base = recipe.architecture
    assert base is not None  # noqa: S101 - the recipe names one
    return Preset(
        name="mpcvit_small",
        base=base,
        stages=(SearchStage.SUPERNET,),
        training=recipe,
        search=replace(recipe, epochs=2),
        penalty=1e-3,
        pair=(_RS, _SC),
        mus=(0.5,),
        block_mus=(0.1, 0.3, 0.5, 0.7),
    )


def mpcvit_plus_small() -> Preset:
    """MPCViT+ as ``mpcvit_small``: half of the blocks' heads, and with them half of the tokens' GELUs."""
    small = replace(mpcvit_small(), name="mpcvit_plus_small", gate_axis=GateAxis.TOKEN)
    return replace(small, mus=(), block_mus=(0.5,))


def mpcvit_plus() -> Preset:
    """MPCViT+: heads as in ``mpcvit``, and with them the tokens at which GELU is needed."""
    return replace(mpcvit(), name="mpcvit_plus", gate_axis=GateAxis.TOKEN)


def pareto() -> Preset:
    """Heads, activations, norms and widths by NSGA-II with short trainings, on a size that two CPU cores train."""
    base = vit_6_4_32(_SM, Activation.GELU)
    training = TrainConfig(model="pareto", epochs=10, pipeline=Pipeline.TENSORS)
    space = Space(
        base=base,
        kinds=(_SM, AttentionKind.QUAD2, _RS, _SC),
        activations=(Activation.GELU, Activation.RELU, Activation.QUAD, Activation.IDENTITY),
        norms=("layernorm", "batchnorm_mlp"),
        dims=(64, 96, 128),
        expansions=(100, 200),
    )
    return Preset(
        name="pareto", base=base, stages=(SearchStage.SAMPLE,), training=training, search=training, space=space
    )


def anneal() -> Preset:
    """PriViT's annealing of a trained softmax model: 50 epochs of switches at most, 50 of fine-tuning."""
    training = TrainConfig(
        model="anneal",
        epochs=50,
        optimizer="adamw",
        lr=1e-4,
        auto_augment="rand-m9-mstd0.5-inc1",
        cutmix=0.6,
    )
    return Preset(
        name="anneal",
        base=vit_7_4_32(_SM, Activation.GELU),
        stages=(SearchStage.ANNEAL,),
        training=training,
        # switches start at 1 and move by about the learning rate per step, so this one must be larger
        search=replace(training, lr=1e-3, auto_augment=None, cutmix=0.0),
        penalty=3e-5,
        pair=(_SM, AttentionKind.SQUARE),
        gate_axis=GateAxis.TOKEN,
        mus=(0.3, 0.5, 0.7),
    )


PRESETS: dict[str, Callable[[], Preset]] = {
    recipe.__name__: recipe for recipe in (smoke, mpcvit, mpcvit_plus, mpcvit_small, mpcvit_plus_small, pareto, anneal)
}
