"""Linear maps, each party for itself."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.engines.crypten.kernel import CryptenKernel
from mpcvit.engines.crypten.session import Session
from mpcvit.engines.shared import Shared, shared
from mpcvit.ops import Op
from mpcvit.ops.linear_map import LinearMap


class LinearMapKernel(CryptenKernel[LinearMap]):
    """Party 0 adds the constant."""

    runs: ClassVar[type[Op]] = LinearMap  # type: ignore[type-abstract]  # every op below it

    def run(self, session: Session, *inputs: Shared) -> Shared:
        apply = self.op.reference if session.index == 0 else self.op.linear
        return shared(apply(*(x.share[None] for x in inputs))[0])
