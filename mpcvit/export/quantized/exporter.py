"""From a trained model to the export of its quantized form, within what the dealer may send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mpcvit.engines.cost import Cost
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import Objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.errors import ConfigError
from mpcvit.export.builder import Precision
from mpcvit.export.exported import Exported
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.quantized.dealt_bytes import dealt_bytes
from mpcvit.export.quantized.lower import Lowered, lower, lower_module
from mpcvit.export.traced.model import TracedModel
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.allocate.mixed_precision import MixedPrecision, WidthCost
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from mpcvit.quantize.quantize_module import quantize_module
from mpcvit.quantize.reconstruct.reconstruct import LearningProgress
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.quantized import QUANTIZED_FOLDER, save_quantized
from mpcvit.store.trained import save_model
from mpcvit.wire.reveal import LOGITS, Disclosure

#: Exports that are made to meet a budget. The first nearly always does: predictions are good to a thousandth or so.
_TRIES = 5


@dataclass(frozen=True)
class QuantizedExport:
    """A quantized model and what became of it.

    Attributes:
        config: how it was quantized.
        model: with quantizers.
        lowered: what was exported.
        cost: of one inference of two parties on the fast engine.
    """

    config: QuantizeConfig
    model: VisionTransformer | TracedModel
    lowered: Lowered
    exported: Exported
    cost: Cost

    @property
    def dealt(self) -> int:
        """Bytes that the dealer sends to both parties for one inference."""
        return sum(self.cost.material_bytes)

    def save(self, trained: VisionTransformer | TracedModel, description: Description, folder: Path) -> None:
        """Write the exported model into ``folder``, beside the trained and the quantized one that it comes from.

        Modules, which are kept as their code and weights, are not beside it.
        """
        ModelFolder(description, self.exported.program, self.exported.weights).save(folder)
        if not isinstance(trained, TracedModel) and not isinstance(self.model, TracedModel):
            save_model(trained, folder)
            save_quantized(self.model, self.config, folder / QUANTIZED_FOLDER)


@dataclass(frozen=True)
class Widths:
    """What is known of a model's widths: what they cost, and what they lose."""

    cost: WidthCost
    loss: MixedPrecision


@dataclass(frozen=True)
class QuantizedExporter:
    """What quantized forms of a model are made with.

    Attributes:
        model: in real arithmetic.
        calibration: normalised pictures for the quantizers, float32 [count, channels, size, size].
        images: the same for export, a few hundred.
        goal: what plans minimise.
        reveal: what the client gets.
        say: told what is being done, in words.
        progress: told about reconstruction.
        normalisation: of all pictures.
        allow_calibrated: export with calibrated ranges where they cannot be proven.
        stock_wraps: as :class:`~mpcvit.export.builder.Precision` has it.
    """

    model: VisionTransformer | TracedModel
    calibration: torch.Tensor
    images: torch.Tensor
    goal: Objective
    reveal: Disclosure = LOGITS
    say: Callable[[str], None] = lambda text: None
    progress: LearningProgress | None = None
    normalisation: Normalisation = NOISE
    allow_calibrated: bool = False
    stock_wraps: float = Precision.stock_wraps

    def real_cost(self) -> Cost:
        """Return the cost of one inference of the model as it is."""
        return self._cost(self._exported(self.model, Precision()))

    def export(self, config: QuantizeConfig) -> QuantizedExport:
        """Return the model quantized with ``config``.

        Raises:
            InputError, ConfigError: of :func:`~mpcvit.quantize.quantize`, or for a module,
                :func:`~mpcvit.quantize.quantize_module`.
            RangeError: values do not fit fixed point.
        """
        self.say(f"{config.method} on {len(self.calibration)} pictures")
        quantized, lowered = self._quantized(config)
        self.say("export")
        exported = self._exported(lowered.model, Precision(steps=lowered.steps))
        return QuantizedExport(config, quantized, lowered, exported, self._cost(exported))

    def widths(self, start: QuantizeConfig, lowest: Bits) -> Widths:
        """Return what narrower layers than ``start`` has cost and lose, which takes an export per width.

        Args:
            lowest: widths that no layer goes below.

        Raises:
            InputError, ConfigError: of :func:`~mpcvit.quantize.quantize`, or the model is a module that was traced.
        """
        if isinstance(self.model, TracedModel):
            raise ConfigError(
                "a budget of the dealer for a module that is traced",
                expected="a Vision Transformer of this package, of whose layers it is known what their widths cost",
                remedy="Leave out --dealt-mib, and choose widths with --activation-bits or --config.",
            )
        self.say("prices of widths")
        cost = dealt_bytes(
            self.model,
            start,
            self.calibration,
            self.goal,
            lowest.activation,
            lambda width: self.say(f"prices of widths: {width} bits"),
            self.normalisation,
            allow_calibrated=self.allow_calibrated,
        )
        return Widths(cost, MixedPrecision(self.model, start, self.calibration, lowest))

    def export_within(self, widths: Widths, budget: float) -> QuantizedExport:
        """Return the model quantized with layers so narrow that the dealer sends at most ``budget`` bytes.

        Widths are chosen by what exports on the quantizers' own pictures would deal, which is not exactly what the
        export on all pictures deals: where that is too much, the widths are chosen again.

        Raises:
            ConfigError: the lowest widths, or what they lead to, cost more than the budget.
        """
        cost, mixed = widths.cost, widths.loss
        aim: float = budget
        dealt: list[int] = []
        for _ in range(_TRIES):
            self.say("losses of widths")
            config = mixed.within(cost, aim)
            done = self.export(config)
            if done.dealt <= budget:
                return done
            dealt.append(done.dealt)
            least, predicted = mixed.least(cost), mixed.cost_of(config, cost)
            if predicted <= least:
                break
            aim = max(predicted * budget / done.dealt, least)
        raise ConfigError(
            f"a budget of {budget:g} bytes",
            expected=f"at least {min(dealt)}, what the exported model deals after {len(dealt)} choices of widths",
            remedy="Raise the budget, or allow fewer bits.",
        )

    def _quantized(self, config: QuantizeConfig) -> tuple[VisionTransformer | TracedModel, Lowered]:
        if not isinstance(self.model, TracedModel):
            quantized = quantize(self.model, config, self.calibration, progress=self.progress)
            return quantized, lower(quantized)
        module = TracedModel(quantize_module(self.model.module, config, self.calibration), self.model.config)
        return module, lower_module(module)

    def _exported(self, model: VisionTransformer | TracedModel, precision: Precision) -> Exported:
        return export_model(
            model,
            self.images,
            replace(precision, stock_wraps=self.stock_wraps),
            self.reveal,
            normalisation=self.normalisation,
            allow_calibrated=self.allow_calibrated,
        )

    def _cost(self, exported: Exported) -> Cost:
        return fast_cost(make_plan(exported.program, self.goal)).total
