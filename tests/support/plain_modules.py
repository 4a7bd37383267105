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
