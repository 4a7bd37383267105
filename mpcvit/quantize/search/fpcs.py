"""Fast progressive combining search (AdaLog, ECCV 2024, section 3.4): a beam search over two parameters at once.

Axes: S starts, G groups (channels, heads, or the whole tensor) with parameters of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

#: The errors [S, G] of candidates' parameters, [S, G] each.
Error = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Parameter:
    """One of two parameters, of all starts.

    Attributes:
        values: [S, G], where the search starts; a start is one entry of both parameters.
        spacing: [G], how far neighbouring starts lie apart.
        lowest: the least value allowed.
        whole: whether only whole numbers are.
    """

    values: torch.Tensor
    spacing: torch.Tensor
    lowest: float
    whole: bool = False

    def refinable(self) -> bool:
        """Return whether there are values between neighbours."""
        return not self.whole or bool((self.spacing > 1).any())

    def refined(self, values_SG: torch.Tensor, branches: int) -> Parameter:
        """Return ``branches`` values around each of ``values_SG``, as dense between neighbours as on either side of
        them.
        """
        steps = (torch.arange(branches, dtype=values_SG.dtype, device=values_SG.device) + 0.5) / branches - 0.5
        around = values_SG + steps[:, None, None] * self.spacing
        if self.whole:
            around = around.round()
        spacing_G = self.spacing / branches
        return replace(
            self,
            values=around.clamp(min=self.lowest).flatten(0, 1),
            spacing=spacing_G.clamp(min=1.0) if self.whole else spacing_G,
        )


@dataclass(frozen=True)
class Fpcs:
    """How much is searched. The source's numbers.

    Attributes:
        candidates: tried in each step after the first, per group.
        beam: survivors of a step; what lies around each of them is tried next.
        steps: the first one tries the starts.
    """

    candidates: int = 128
    beam: int = 16
    steps: int = 6

    def best(self, error: Error, first: Parameter, second: Parameter) -> tuple[Parameter, Parameter]:
        """Return the starts with only the ``candidates`` best ones left in each group, best first."""
        errors_SG = _errors(error, first.values, second.values)
        order_SG = errors_SG.topk(min(self.candidates, len(errors_SG)), dim=0, largest=False).indices
        left, right = (replace(p, values=p.values.gather(0, order_SG)) for p in (first, second))
        return left, right

    def search(self, error: Error, first: Parameter, second: Parameter) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the best pair found, [G] each. Its error is at most that of the best start.

        Steps refine the two parameters in turn, as long as there is something between neighbours; survivors stay
        candidates.
        """
        pair = [first, second]
        values = [first.values, second.values]
        errors = _errors(error, *values)
        for step in range(1, self.steps):
            turn = step % 2 if pair[step % 2].refinable() else 1 - step % 2
            if not pair[turn].refinable():
                break
            best = errors.topk(min(self.beam, len(errors)), dim=0, largest=False).indices
            errors, values = errors.gather(0, best), [parameter.gather(0, best) for parameter in values]
            branches = max(1, self.candidates // self.beam)
            pair[turn] = pair[turn].refined(values[turn], branches)
            new = [parameter.repeat(branches, 1) for parameter in values]
            new[turn] = pair[turn].values
            errors = torch.cat([errors, _errors(error, *new)])
            values = [torch.cat(both) for both in zip(values, new, strict=True)]
        best = errors.argmin(dim=0, keepdim=True)
        return values[0].gather(0, best)[0], values[1].gather(0, best)[0]


def _errors(error: Error, first_SG: torch.Tensor, second_SG: torch.Tensor) -> torch.Tensor:
    """Return [S, G]; what is no number counts as the worst."""
    return error(first_SG, second_SG).nan_to_num(nan=torch.inf)
