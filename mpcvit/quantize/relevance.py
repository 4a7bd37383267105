"""Layer-wise relevance propagation: rules that send relevance back from a layer's output to its inputs, losing none.

Each output's relevance goes to its inputs in the proportion of their positive contributions (the z+ rule; Montavon et
al. 2017), so that relevance that begins positive stays so. Biases take none. Where nothing contributes positively, all
inputs get the same. Norms, activations and the softmax pass relevance on element by element (the identity rule of
AttnLRP, ICML 2024): what they do to other elements is taken as given.
"""

from __future__ import annotations

import torch


def through_linear(x: torch.Tensor, weight: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
    """The relevance of ``x`` [.., in] from that of ``x @ weight.T + bias`` [.., out]; sums over the last axis agree."""
    up, down, weight_up, weight_down = x.clamp(min=0), x.clamp(max=0), weight.clamp(min=0), weight.clamp(max=0)
    per_unit, even = _per_unit(up @ weight_up.mT + down @ weight_down.mT, relevance)
    return up * (per_unit @ weight_up) + down * (per_unit @ weight_down) + even.sum(-1, keepdim=True) / x.shape[-1]


def through_product(
    left: torch.Tensor, right: torch.Tensor, relevance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The relevances of both operands of ``left @ right`` from that of the product, half of it each.

    Args:
        left, right, relevance: [.., N, K], [.., K, M] and [.., N, M].
    """
    left_up, left_down = left.clamp(min=0), left.clamp(max=0)
    right_up, right_down = right.clamp(min=0), right.clamp(max=0)
    per_unit, even = _per_unit(left_up @ right_up + left_down @ right_down, relevance / 2)
    inner = left.shape[-1]
    of_left = left_up * (per_unit @ right_up.mT) + left_down * (per_unit @ right_down.mT)
    of_right = right_up * (left_up.mT @ per_unit) + right_down * (left_down.mT @ per_unit)
    return of_left + even.sum(-1, keepdim=True) / inner, of_right + even.sum(-2, keepdim=True) / inner


def through_sum(
    first: torch.Tensor, second: torch.Tensor, relevance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The relevances of both terms of ``first + second``, in proportion to their magnitudes, element by element."""
    magnitude = first.abs() + second.abs()
    share = torch.where(magnitude > 0, first.abs() / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny), 0.5)
    return relevance * share, relevance * (1 - share)


def through_mean(x: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
    """The relevance of ``x`` [B, N, D] from that of its mean over N, [B, D], in proportion to magnitudes."""
    magnitude = x.abs() + torch.finfo(x.dtype).tiny
    return relevance[:, None] * (magnitude / magnitude.sum(dim=1, keepdim=True))


def _per_unit(total: torch.Tensor, relevance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Relevance per unit of contribution, and the relevance that no contribution asks for."""
    some = total > 0
    return torch.where(some, relevance / torch.where(some, total, 1), 0), torch.where(some, 0, relevance)
