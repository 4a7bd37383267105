"""DopQ-ViT (2024): a tangent for attention weights, and the median as the scale behind norms.

The source has no public code, and its text was not available beyond abstracts: TanQ is a reconstruction (``tanq``).

MOSF stands for *median as the optimal scaling factor* in the first abstract, and for *MAD-guided optimal scaling
factor* in the third. The number from which scales have the least mean absolute deviation is their median: both name the
same.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from mpcvit.quantize.calibrate.place_by_place import fitted
from mpcvit.quantize.config import Method
from mpcvit.quantize.methods.repq import RepQCalibration
from mpcvit.quantize.quantizers.quantizer import Quantizer
from mpcvit.quantize.quantizers.tanq import ReconstructedTanQ


class DopQCalibration(RepQCalibration):
    """RepQ-ViT's, with TanQ for attention weights and the median of the channels' scales where RepQ-ViT has the mean.

    The rewriting keeps every channel's code, and weights have a scale per output channel, which takes up any common
    factor: the median changes the size of the rewritten weights and zero points, and nothing that codes stand for.
    """

    method: ClassVar[Method] = Method.DOPQ

    def centre(self, scales_C: torch.Tensor) -> torch.Tensor:
        return scales_C.median()

    def attention_weights(self, weights: torch.Tensor, bits: int) -> Quantizer:
        if weights.min() < 0:  # THE-X's are not between 0 and a largest one
            return self.activation(weights, bits)
        return fitted(ReconstructedTanQ(bits), weights)
