"""The tightest of a family of bounds, each of which holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

_RATE = 0.05
#: Steps for matrices up to some width; eigenvalues of larger ones take long, and the starts are good.
_STEPS, _WIDE, _STEPS_IF_WIDE = 120, 256, 25
#: Done once that many steps have gained no more than that, relative.
_PATIENCE, _GAIN = 20, 2.0**-12


@torch.enable_grad()
def minimise(bound: Callable[[], torch.Tensor], parameters: Sequence[torch.Tensor], width: int) -> float:
    """Return the least ``bound()`` found by gradient descent on ``parameters``, which are changed.

    Args:
        bound: a scalar, not negative, that is a bound whatever the parameters are.
        width: of the matrices whose eigenvalues it takes.
    """
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr=_RATE)
    bests = [float("inf")]
    for _ in range(_STEPS if width <= _WIDE else _STEPS_IF_WIDE):
        value = bound()
        bests.append(min(bests[-1], float(value.detach())))
        if bests[-1] == 0 or bests[-1] > (1 - _GAIN) * bests[max(len(bests) - 1 - _PATIENCE, 0)]:
            break
        optimiser.zero_grad()
        value.log().backward()
        optimiser.step()
    return bests[-1]
