"""Piecewise polynomials on a uniform grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpcvit.engines.crypten.correlations import Correlation
from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.kernels.spline import SplineKernel
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared
from mpcvit.ops import GridSpline, Op, TensorType


class GridSplineKernel(CryptenKernel[GridSpline]):
    """A comparison for every boundary where the polynomial changes, then as any spline."""

    runs: ClassVar[type[Op]] = GridSpline

    def correlations(self, inputs: Sequence[TensorType], parties: int) -> list[Correlation]:
        return self._spline.correlations(inputs, parties)

    def run(self, session: Session, *inputs: Shared) -> Shared:
        return self._spline.run(session, *inputs)

    @property
    def _spline(self) -> SplineKernel:
        return SplineKernel(self.op.by_nearest_knot)
