"""A ViT whose choices are relaxed: every head a mixture of two kinds, every activation gated by learnable weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.activation import RelaxedGate
from mpcvit.models.attention import KERNELS, AttentionKernel
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import AttentionKind, GateAxis
from mpcvit.models.vit import Block, VisionTransformer
from mpcvit.train.objectives.objective import Loss

Pair = tuple[AttentionKind, AttentionKind]
Group = Literal["heads", "gates"]
#: In the order of :attr:`RelaxedViT.penalties`.
GROUPS: tuple[Group, ...] = ("heads", "gates")


class MixedHeads(AttentionKernel):
    """alpha * expensive + (1 - alpha) * cheap of the heads' outputs, one alpha [H] per head; 1 to begin with."""

    def __init__(self, config: ViTConfig, pair: Pair, expensive: AttentionKernel, heads: int) -> None:
        super().__init__(config, heads, expensive.tokens)
        self.dear = expensive  # the name is part of checkpoints
        self.cheap = KERNELS[pair[1]](config, heads, expensive.tokens)
        self.alpha = nn.Parameter(torch.ones(heads))

    def forward(
        self, q_BHND: torch.Tensor, k_BHMD: torch.Tensor, v_BHMD: torch.Tensor, *masks: torch.Tensor
    ) -> torch.Tensor:
        """Return the mixture [B, H, N, D]."""
        cheap_BHND = self.cheap(q_BHND, k_BHMD, v_BHMD, *masks)
        expensive_BHND = self.dear(q_BHND, k_BHMD, v_BHMD, *masks)
        # the products' number format, which autocast chooses
        return torch.lerp(cheap_BHND, expensive_BHND, self.alpha[:, None, None].to(cheap_BHND.dtype))


class RelaxedViT(VisionTransformer):
    """A ViT with switches: parameters in [0, 1] that a search pushes towards 0 and that end as binary choices.

    Args:
        config: the architecture with everything on; the result of a search changes nothing else.
        pair: the kind that all heads of ``config`` have, and the cheaper one that may replace it; None to leave heads.
        gate_axis: what activations are gated by; None to leave them.
        weights: of a trained model of ``config``, to start from.

    Attributes:
        penalties: weights of the L1 terms of heads and gates; a buffer, so that an annealed search resumes with them.

    Raises:
        ConfigError: the heads of ``config`` are not all of the kind that is to be replaced, nothing is relaxed, or
            blocks share weights and so cannot choose for themselves.
    """

    penalties: torch.Tensor

    def __init__(
        self,
        config: ViTConfig,
        *,
        pair: Pair | None = None,
        gate_axis: GateAxis | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
        drop_path_rate: float = 0.0,
    ) -> None:
        kinds = {kind for block in config.blocks for kind in block.heads}
        if (pair is None and gate_axis is None) or (pair and kinds != {pair[0]}):
            raise ConfigError(
                f"a search over {pair} and {gate_axis} in a model of {config.blocks[0].heads} heads",
                expected="something to search, and heads of the more expensive kind everywhere",
                remedy="Start from a model whose heads are all of the first kind.",
            )
        if any(block.shares for block in config.blocks):
            raise ConfigError(
                "a search over blocks that share weights",
                expected="blocks with weights of their own",
                remedy="Search first, and let the blocks share weights afterwards.",
            )
        super().__init__(config, drop_path_rate)
        if weights is not None:
            self.load_state_dict(dict(weights))
        self.gate_axis = gate_axis
        self._pair = pair
        for block in self._blocks():
            if pair is not None:
                expensive = cast(AttentionKernel, block.attn.kernels[pair[0].value])
                block.attn.kernels[pair[0].value] = MixedHeads(config, pair, expensive, len(block.attn.kinds))
            if gate_axis is not None:
                block.mlp.relax(gate_axis)
        self.register_buffer("penalties", torch.zeros(2))
        for group, switches in self.switches.items():
            most = max(switch.numel() for switch in switches)
            self.register_buffer(f"frozen_{group}", torch.zeros(len(switches), most) - 1)

    @property
    def pair(self) -> Pair:
        """The expensive kind and the cheap one."""
        assert self._pair is not None  # noqa: S101 - asked for only where heads are relaxed
        return self._pair

    @property
    def head_switches(self) -> list[nn.Parameter]:
        """Per block, the alphas [H]."""
        pair = self._pair
        if pair is None:
            return []
        return [cast(MixedHeads, block.attn.kernels[pair[0].value]).alpha for block in self._blocks()]

    @property
    def gate_switches(self) -> list[nn.Parameter]:
        """Per block, the betas [N] or [M]."""
        return [cast(RelaxedGate, block.mlp.gate).beta for block in self._blocks()] if self.gate_axis else []

    @property
    def switches(self) -> dict[Group, list[nn.Parameter]]:
        """The groups that are relaxed."""
        groups: dict[Group, list[nn.Parameter]] = {"heads": self.head_switches, "gates": self.gate_switches}
        return {group: switches for group, switches in groups.items() if switches}

    @torch.no_grad()
    def project(self) -> None:
        """Put switches back into [0, 1], frozen ones where they were frozen. Call before every step."""
        for group, switches in self.switches.items():
            for switch, frozen in zip(switches, self._frozen(group), strict=True):
                switch.copy_(torch.where(frozen < 0, switch.clamp(0, 1), frozen))

    @torch.no_grad()
    def freeze(self, group: Group, kept: list[list[bool]]) -> None:
        """Set a group's switches to 1 where ``kept``, to 0 elsewhere, for good."""
        for frozen, on in zip(self._frozen(group), kept, strict=True):
            frozen.copy_(torch.tensor(on, dtype=torch.float32))
        self.project()

    def is_frozen(self, group: Group) -> bool:
        """Return whether the group's switches are binary for good."""
        return all(bool((frozen >= 0).all()) for frozen in self._frozen(group))

    def count(self, group: Group, threshold: float) -> int:
        """Return switches of a group above ``threshold``."""
        return sum(int((switch > threshold).sum()) for switch in self.switches[group])

    def no_weight_decay(self) -> set[str]:
        """Return the switches, too: decay is not the penalty."""
        switches = {id(switch) for group in self.switches.values() for switch in group}
        names = {name for name, parameter in self.named_parameters() if id(parameter) in switches}
        return super().no_weight_decay() | names

    def _frozen(self, group: Group) -> list[torch.Tensor]:
        """Return per block, where a group is frozen: 0 or 1, or -1 where it is not. Rows of a buffer, cut to size."""
        buffer = self.get_buffer(f"frozen_{group}")
        return [row[: switch.numel()] for row, switch in zip(buffer, self.switches[group], strict=True)]

    def _blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]


@dataclass(frozen=True, kw_only=True)
class Penalised:
    """An objective, and an L1 term per group of switches: lambda * sum of weight * |switch|.

    Attributes:
        model: the one that is trained; it holds the lambdas.
        base: the objective without the terms.
        weights: per group and block, a weight per switch, or one for all switches of the block.
    """

    model: RelaxedViT
    base: Loss
    weights: Mapping[Group, list[list[float]]]

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar. Switches are put back into their range first."""
        self.model.project()
        loss = self.base(model, images, targets)
        for group, switches in self.model.switches.items():
            terms = [
                (switch.new_tensor(weights) * switch.abs()).sum()
                for switch, weights in zip(switches, self.weights[group], strict=True)
            ]
            loss = loss + self.model.penalties[GROUPS.index(group)] * torch.stack(terms).sum()
        return loss


def hardened(model: RelaxedViT, config: ViTConfig) -> VisionTransformer:
    """Return an ordinary model of ``config``, a binary choice of ``model``'s, with its weights."""
    result = VisionTransformer(config)
    source, target = model.state_dict(), result.state_dict()
    for name, value in target.items():
        value.copy_(_matching(model, config, name, value.shape, source))
    result.load_state_dict(target)
    return result


def _matching(
    model: RelaxedViT, config: ViTConfig, name: str, shape: torch.Size, source: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return the relaxed model's value of a parameter of the hardened one."""
    if name in source:
        return source[name]
    # blocks.<number>.attn.kernels.<kind>.<rest>
    _, number, _, _, kind, rest = name.split(".", 5)
    expensive, _ = model.pair
    found = source[f"blocks.{number}.attn.kernels.{expensive.value}.{'dear' if kind == expensive else 'cheap'}.{rest}"]
    members = [head for head, other in enumerate(config.blocks[int(number)].heads) if other == kind]
    return found if found.shape == shape else found[members]  # what a kind learns is per head, or shared by all
