"""RepQ-ViT (ICCV 2023): norms rewritten so that one scale fits all channels, attention weights as powers of sqrt(2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.calibration import LinearSite
from mpcvit.quantize.calibrate.norm_rewrite import rewrite
from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace, fitted
from mpcvit.quantize.config import Method
from mpcvit.quantize.quantizers.log_sqrt2 import LogSqrt2
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.uniform import Uniform
from mpcvit.quantize.ranges import Percentile, RangeRule

PERCENTILES = Percentile((0.999, 0.9999, 0.99999))
#: A channel's scale is at least this part of the largest one, so that a dead channel does not blow up its norm.
_SMALLEST = 2.0**-10


class RepQCalibration(PlaceByPlace):
    """Norms' outputs channel by channel first, then with one scale and zero point."""

    method: ClassVar[Method] = Method.REPQ
    sequential: ClassVar[bool] = True
    rule: ClassVar[RangeRule] = PERCENTILES

    def behind_norm(self, site: LinearSite) -> Quantizer:
        by_channel = Uniform(site.bits.activation, axis=-1, rule=self.rule)
        by_channel.fit(site.x)
        return to_one_scale(site, by_channel, self.centre)[1]

    def centre(self, scales_C: torch.Tensor) -> torch.Tensor:
        """Return the one scale that stands for those of all channels."""
        return scales_C.mean()

    def attention_weights(self, weights: torch.Tensor, bits: int) -> Quantizer:
        if weights.min() < 0:  # THE-X's are no powers of anything
            return self.activation(weights, bits)
        return fitted(LogSqrt2(bits), weights)


def to_one_scale(
    site: LinearSite, by_channel: Uniform, centre: Callable[[torch.Tensor], torch.Tensor] = torch.mean
) -> tuple[LinearSite, Uniform]:
    """Rewrite the site's norm and layer so that one scale and zero point do what ``by_channel`` does; the new site.

    The scale is the channels' ``centre``. The zero point is the mean of the channels', rounded, unlike in the source's
    code: an integer kernel has no other. Each channel's code then stays exactly what it was.

    Args:
        by_channel: asymmetric, with a scale and a zero point per channel of what the layer reads.
        centre: makes one scale of the channels'.
    """
    fitted_C = by_channel.scale.flatten()
    scale_C = fitted_C.clamp(min=float(fitted_C.max()) * _SMALLEST)
    zero_C = (by_channel.zero.flatten() * fitted_C / scale_C).round()
    scale, zero = centre(scale_C), zero_C.mean().round()
    joint = Uniform(by_channel.bits)
    joint.assign(scale, zero)
    return rewrite(site, scale_C / scale, scale * (zero - zero_C)), joint
