"""A few values that stand for many when errors are measured. Axes: G groups, N values, M values of the sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

#: A sample holds at least so many values of each group, where there are so many.
_LEAST = 256


@dataclass(frozen=True)
class Sample:
    """Sorted values with weights.

    All values of both tails are there, because a few large ones decide how wide a range has to be. Between the tails it
    is every n-th value in order, with the weight of n.

    Attributes:
        values: [G, M].
        weights: [M], adding up to 1.
    """

    values: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, x_GN: torch.Tensor, limit: int) -> Sample:
        """Return at most about ``limit`` values of all groups together."""
        ordered_GN = x_GN.sort(dim=1).values
        count = ordered_GN.shape[1]
        most = max(limit // len(ordered_GN), _LEAST)
        if count <= most:
            return cls(ordered_GN, torch.full_like(ordered_GN[0], 1 / count))
        tail = most // 8
        inner_GN = ordered_GN[:, tail : count - tail]
        step = -(-inner_GN.shape[1] // (most - 2 * tail))
        picked_GM = inner_GN[:, step // 2 :: step]
        ends = torch.full_like(ordered_GN[0, :tail], 1 / count)
        middle = torch.full_like(picked_GM[0], inner_GN.shape[1] / picked_GM.shape[1] / count)
        values = torch.cat([ordered_GN[:, :tail], picked_GM, ordered_GN[:, count - tail :]], dim=1)
        return cls(values, torch.cat([ends, middle, ends]))

    def error(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error [..., G] of rounding to ``rounded``, [..., G, M]."""
        errors: torch.Tensor = (rounded - self.values).square() @ self.weights
        return errors


@dataclass(frozen=True)
class Rows:
    """Entries of a tensor's first axis that stand for all of them, with weights.

    Attributes:
        index: which ones.
        weights: for how many each of them stands.
    """

    index: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor, limit: int) -> Rows:
        """Return at most about ``limit`` of them: those that reach farthest from the mean, and of the others every
        n-th.
        """
        reach = (x - x.mean()).abs().flatten(1).amax(dim=1)
        order = reach.argsort(descending=True)
        if len(order) <= limit:
            return cls(order, torch.ones_like(reach))
        far, near = order[: limit // 8], order[limit // 8 :]
        step = -(-len(near) // (limit - len(far)))
        picked = near[step // 2 :: step]
        middle = torch.full_like(reach[: len(picked)], len(near) / len(picked))
        return cls(torch.cat([far, picked]), torch.cat([torch.ones_like(reach[: len(far)]), middle]))

    def unweighted(self) -> Rows:
        """Return the same entries, each standing for itself."""
        return replace(self, weights=torch.ones_like(self.weights))
