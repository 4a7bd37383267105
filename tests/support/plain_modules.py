"""The plain modules in tiny sizes, with what each reveals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.traced.factory import ModuleFacts, module_facts, traced_model
from mpcvit.models.plain.bag_pooling import BagPooling
from mpcvit.models.plain.channel_tokens import ChannelTokens
from mpcvit.models.plain.class_prompts import ClassPrompts
from mpcvit.models.plain.conv_adapter import ConvAdapter
from mpcvit.models.plain.dhvt import Dhvt
from mpcvit.models.plain.heat_maps import HeatMaps
from mpcvit.models.plain.lens import Lens
from mpcvit.models.plain.mask_decoder import MaskDecoder
from mpcvit.models.plain.point_classifier import PointClassifier
from mpcvit.models.plain.pose_tokens import PoseTokens
from mpcvit.models.plain.quality_token import QualityToken
from mpcvit.models.plain.slices import Slices
from mpcvit.models.plain.splice_localiser import SpliceLocaliser
from mpcvit.models.plain.task_experts import TaskExperts
from mpcvit.models.plain.tic import Tic
from mpcvit.models.plain.tubelets import Tubelets
from mpcvit.models.plain.upsampler import Upsampler
from mpcvit.models.plain.volume_patches import VolumePatches
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.reveal import LOGITS, Disclosure, RevealKind
from tests.support.traced import enlivened

MAP, SCALAR, VECTOR = (Disclosure(kind) for kind in (RevealKind.MAP, RevealKind.SCALAR, RevealKind.VECTOR))


@dataclass(frozen=True)
class PlainCase:
    """A tiny module.

    Attributes:
        make: the module, with random weights.
        reveal: its answer.
        proven: whether its ranges are proven for every input.
    """

    make: Callable[[], nn.Module]
    reveal: Disclosure = LOGITS
    proven: bool = True


#: By the names of their files.
CASES: dict[str, PlainCase] = {
    "bag_pooling": PlainCase(lambda: BagPooling(3, 8, 4, 12, 1)),
    "channel_tokens": PlainCase(lambda: ChannelTokens(3, None, 8, 4, 12, 1)),
    "class_prompts": PlainCase(lambda: ClassPrompts(8, 4, 12, 2)),
    "conv_adapter": PlainCase(lambda: ConvAdapter(8, 4, 12, 1), MAP),
    "dhvt": PlainCase(lambda: Dhvt(8, 12, 1, classes=3)),
    "heat_maps": PlainCase(lambda: HeatMaps(16, 4, 12, joints=2), MAP),
    "lens": PlainCase(lambda: Lens(4, 2, 8, 4, 12, 1, latents=3)),
    "mask_decoder": PlainCase(lambda: MaskDecoder(8, 4, 12, 1), MAP),
    "point_classifier": PlainCase(lambda: PointClassifier(8, 4, 12, 1, points=((5, 1), (0, 7), (7, 7))), MAP),
    "pose_tokens": PlainCase(lambda: PoseTokens(8, 4, 12, 1, joints=3), VECTOR),
    "quality_token": PlainCase(lambda: QualityToken(8, 4, 12, 1, embedding=4), SCALAR),
    "slices": PlainCase(lambda: Slices(16, 2, 4, 12, numbers=5), VECTOR),
    "splice_localiser": PlainCase(lambda: SpliceLocaliser(8, 4, 12, 1), MAP),
    "task_experts": PlainCase(lambda: TaskExperts(task=1, size=8, patch=4, width=12, depth=1)),
    "tic": PlainCase(lambda: Tic(8, 2, 8)),
    "tubelets": PlainCase(lambda: Tubelets(4, 2, 8, 4, 12, 1)),
    "upsampler": PlainCase(lambda: Upsampler(8, 4, 12, 1), MAP),
    "volume_patches": PlainCase(lambda: VolumePatches(4, 2, 8, 4, 12, bits=16, window=(-1000.0, 400.0))),
}


def live(case: PlainCase) -> nn.Module:
    """The module with weights as lively as trained ones."""
    return enlivened(case.make())


def inputs(facts: ModuleFacts, count: int) -> Codes:
    """Noise of pixels, [count, ..]."""
    shape = (count, *facts.input.shape)
    return np.random.default_rng(0).integers(0, facts.input.largest + 1, shape)


def as_floats(facts: ModuleFacts, codes: Codes) -> torch.Tensor:
    """What the module reads of pixels."""
    normalisation = Normalisation(facts.mean, facts.std, facts.input.bits)
    return normalisation.floats(torch.from_numpy(codes)).float()


def facts_of(module: nn.Module) -> ModuleFacts:
    """What the module says of its inputs."""
    return module_facts(module, None, None, None)


def export_case(case: PlainCase, module: nn.Module) -> Exported:
    """The module as a Program."""
    facts = facts_of(module)
    precision = Precision(stock_wraps=float("inf"))
    normalisation = Normalisation(facts.mean, facts.std, facts.input.bits)
    model = traced_model(module, *facts.input.shape)
    images = as_floats(facts, inputs(facts, 6))
    allow = not case.proven
    return export_model(model, images, precision, case.reveal, normalisation=normalisation, allow_calibrated=allow)


def one_by_one(module: nn.Module, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Answers of the float model."""
    with torch.no_grad():
        for one in x:
            yield module(one[None])[0]
