"""Exports of quantized models, and the budget that they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import ConfigError, RangeError
from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.quantized import dealt_bytes
from mpcvit.export.quantized import exporter as quantized
from mpcvit.export.quantized.exporter import QuantizedExporter
from mpcvit.models.kinds import Norm
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.wire.ranges import Ranges
from mpcvit.wire.reveal import LOGITS, Disclosure, RevealKind
from tests.support.columns import varied
from tests.support.images import make_images
from tests.support.mlp_variants import QUICK, make_variant
from tests.support.models import TINY

START = QuantizeConfig(method=Method.MINMAX, bits=Bits(weight=8, activation=8))
LOWEST = Bits(weight=8, activation=4)
GOAL = objective("wan")
CONFIG = varied(TINY, norms=((Norm.AFFINE, Norm.AFFINE),))
IMAGES = make_images(CONFIG, 24)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splines that are quick to fit; errors do not matter here."""

    def sketch(
        model: VisionTransformer,
        images: torch.Tensor,
        precision: Precision = QUICK,
        reveal: Disclosure = LOGITS,
        *,
        normalisation: Normalisation = NOISE,
        allow_calibrated: bool = False,
    ) -> Exported:
        coarse = replace(QUICK, relative=2.0**-4, steps=precision.steps, calibrated=False)
        return export_model(
            model, images, coarse, reveal, normalisation=normalisation, allow_calibrated=allow_calibrated
        )

    for module in (quantized, dealt_bytes):
        monkeypatch.setattr(module, "export_model", sketch)


@pytest.fixture(scope="module")
def model() -> VisionTransformer:
    """One block with a gate in its attention and one in its MLP."""
    return make_variant(CONFIG)


def exporter(model: VisionTransformer, said: list[str] | None = None) -> QuantizedExporter:
    """On noise; export sees more pictures than the quantizers. Nothing bounds the values of a model without norms."""
    say = (said if said is not None else []).append
    return QuantizedExporter(model, IMAGES[:8], IMAGES, GOAL, say=say, allow_calibrated=True)


@pytest.fixture
def optimist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions that are a tenth too low."""
    honest = quantized.dealt_bytes

    def lie(*arguments: Any, **options: Any) -> Callable[[Mapping[str, Bits]], float]:
        cost = honest(*arguments, **options)
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
    label = Disclosure(RevealKind.LABEL, 1)
    tool = replace(exporter(model), reveal=label)
    assert tool.export(START).exported.reveal == label


@pytest.mark.usefixtures("optimist")
def test_the_export_keeps_the_budget_that_the_prediction_broke(model: VisionTransformer) -> None:
    """Widths are chosen again until what is exported deals no more."""
    said: list[str] = []
    tool = exporter(model, said)
    wide, narrow = (tool.export(QuantizeConfig(method=START.method, bits=bits)).dealt for bits in (START.bits, LOWEST))
    budget = narrow + 0.1 * (wide - narrow)
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


def test_calibrated_ranges_are_taken_where_that_is_allowed(model: VisionTransformer) -> None:
    """Otherwise a model whose ranges nothing proves is refused, by its prices of widths, too."""
    assert exporter(model).export(START).exported.program.ranges is Ranges.CALIBRATED
    strict = replace(exporter(model), allow_calibrated=False)
    with pytest.raises(RangeError, match="--allow-calibrated"):
        strict.export(START)
    with pytest.raises(RangeError, match="--allow-calibrated"):
        strict.widths(START, LOWEST)
