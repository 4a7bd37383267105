"""Exports of quantized models, and the budget that they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.export import dealt_bytes, quantized
from mpcvit.export.builder import Precision
from mpcvit.export.quantized import QuantizedExporter
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.config import Norm
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.objective import objective
from mpcvit.program.plan import make_plan
from mpcvit.quantize import Bits, Method, QuantizeConfig
from mpcvit.wire.reveal import LOGITS, Reveal, RevealKind
from tests.conftest import TINY, make_images
from tests.mlp_variants import QUICK, make_variant

START = QuantizeConfig(method=Method.MINMAX, bits=Bits(weight=8, activation=8))
LOWEST = Bits(weight=8, activation=4)
GOAL = objective("wan")
CONFIG = replace(TINY, norms=((Norm.AFFINE, Norm.AFFINE),))
IMAGES = make_images(CONFIG, 24)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splines that are quick to fit; errors do not matter here."""

    def sketch(
        model: VisionTransformer, images: torch.Tensor, precision: Precision = QUICK, reveal: Reveal = LOGITS
    ) -> Exported:
        return export_vit(model, images, replace(QUICK, relative=2.0**-4, steps=precision.steps), reveal)

    for module in (quantized, dealt_bytes):
        monkeypatch.setattr(module, "export_vit", sketch)


@pytest.fixture(scope="module")
def model() -> VisionTransformer:
    """One block with a gate in its attention and one in its MLP."""
    return make_variant(CONFIG)


def exporter(model: VisionTransformer, said: list[str] | None = None) -> QuantizedExporter:
    """On noise; export sees more pictures than the quantizers."""
    return QuantizedExporter(model, IMAGES[:8], IMAGES, GOAL, say=(said if said is not None else []).append)


@pytest.fixture
def optimist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions that are a tenth too low."""
    honest = quantized.dealt_bytes

    def lie(*arguments: Any) -> Callable[[Mapping[str, Bits]], float]:
        cost = honest(*arguments)
        return lambda widths: 0.9 * cost(widths)

    monkeypatch.setattr(quantized, "dealt_bytes", lie)


def test_costs_are_those_of_the_exported_program(model: VisionTransformer) -> None:
    """Before and after quantization, which makes gates cheaper."""
    done = exporter(model).export(QuantizeConfig(method=Method.MINMAX, bits=Bits(weight=8, activation=4)))
    assert done.cost == fast_cost(make_plan(done.exported.program, GOAL)).total
    assert done.dealt == sum(done.cost.material_bytes)
    assert done.dealt < sum(exporter(model).real_cost().material_bytes)


def test_what_clients_get_stays(model: VisionTransformer) -> None:
    """A model that told labels alone tells no more once it is quantized."""
    label = Reveal(RevealKind.LABEL, 1)
    tool = replace(exporter(model), reveal=label)
    assert tool.export(START).exported.reveal == label


@pytest.mark.usefixtures("optimist")
def test_the_export_keeps_the_budget_that_the_prediction_broke(model: VisionTransformer) -> None:
    """Widths are chosen again until what is exported deals no more."""
    said: list[str] = []
    tool = exporter(model, said)
    wide, narrow = (tool.export(QuantizeConfig(method=START.method, bits=bits)).dealt for bits in (START.bits, LOWEST))
    budget = narrow + 0.2 * (wide - narrow)
    done = tool.export_within(tool.widths(START, LOWEST), budget)
    assert done.dealt <= budget
    assert said.count("losses of widths") > 1


@pytest.mark.usefixtures("optimist")
def test_a_budget_that_no_export_keeps_is_refused(model: VisionTransformer) -> None:
    """The error says what the lowest widths really deal."""
    tool = exporter(model)
    least = tool.export(QuantizeConfig(method=START.method, bits=LOWEST)).dealt
    with pytest.raises(
        ConfigError, match=r"a budget of .* bytes; expected at least \d+, what the exported model deals"
    ):
        tool.export_within(tool.widths(START, LOWEST), 0.95 * least)
