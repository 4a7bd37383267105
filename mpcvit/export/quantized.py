"""From a trained model to the export of its quantized form, within what the dealer may send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mpcvit.errors import ConfigError
from mpcvit.export.builder import Precision
from mpcvit.export.dealt_bytes import dealt_bytes
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops import Cost
from mpcvit.program.fast_cost import fast_cost
from mpcvit.program.objective import Objective
from mpcvit.program.plan import make_plan
from mpcvit.quantize.config import Bits, QuantizeConfig
from mpcvit.quantize.lower import Lowered, lower
from mpcvit.quantize.mixed_precision import Cost as WidthCost
from mpcvit.quantize.mixed_precision import MixedPrecision
from mpcvit.quantize.quantize import quantize
from mpcvit.quantize.reconstruct import Progress
from mpcvit.wire.reveal import LOGITS, Reveal

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
    model: VisionTransformer
    lowered: Lowered
    exported: Exported
    cost: Cost

    @property
    def dealt(self) -> int:
        """Bytes that the dealer sends to both parties for one inference."""
        return sum(self.cost.material_bytes)


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
    """

    model: VisionTransformer
    calibration: torch.Tensor
    images: torch.Tensor
    goal: Objective
    reveal: Reveal = LOGITS
    say: Callable[[str], None] = lambda text: None
    progress: Progress | None = None

    def real_cost(self) -> Cost:
        """The cost of one inference of the model as it is."""
        return self._cost(export_vit(self.model, self.images, reveal=self.reveal))

    def export(self, config: QuantizeConfig) -> QuantizedExport:
        """The model quantized with ``config``.

        Raises:
            InputError, ConfigError: of :func:`~mpcvit.quantize.quantize`.
            RangeError: values do not fit fixed point.
        """
        self.say(f"{config.method} on {len(self.calibration)} pictures")
        quantized = quantize(self.model, config, self.calibration, progress=self.progress)
        self.say("export")
        lowered = lower(quantized)
        exported = export_vit(lowered.model, self.images, Precision(steps=lowered.steps), self.reveal)
        return QuantizedExport(config, quantized, lowered, exported, self._cost(exported))

    def widths(self, start: QuantizeConfig, lowest: Bits) -> Widths:
        """What narrower layers than ``start`` has cost and lose, which takes an export per width.

        Args:
            lowest: widths that no layer goes below.

        Raises:
            InputError, ConfigError: of :func:`~mpcvit.quantize.quantize`.
        """
        self.say("prices of widths")
        cost = dealt_bytes(
            self.model,
            start,
            self.calibration,
            self.goal,
            lowest.activation,
            lambda width: self.say(f"prices of widths: {width} bits"),
        )
        return Widths(cost, MixedPrecision(self.model, start, self.calibration, lowest))

    def export_within(self, widths: Widths, budget: float) -> QuantizedExport:
        """The model quantized with layers so narrow that the dealer sends at most ``budget`` bytes.

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

    def _cost(self, exported: Exported) -> Cost:
        return fast_cost(make_plan(exported.program, self.goal)).total
