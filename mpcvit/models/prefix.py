"""The first part of a ViT as a model of its own: its first blocks, heads and channels, with the same weights.

That is how one set of weights holds several models (elastic depth, heads and MLP widths as in ElasticViT, ICCV 2023;
SN-Netv2, 2023, keeps anchors the same way). What is left out is public; no weight is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from mpcvit.errors import ConfigError
from mpcvit.models.block import FULL, BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, GateAxis
from mpcvit.models.vit import VisionTransformer

_QKV = ".attn.qkv."


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """How much of a ViT is left, always the first ones; None for all of a kind.

    Attributes:
        depth: blocks.
        heads: heads of every block, or as many as it has if that is less.
        hidden: channels of every MLP, or as many as it has if that is less.
    """

    depth: int | None = None
    heads: int | None = None
    hidden: int | None = None

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Return what ``text`` says: ``depth:4``, or several parts, ``depth:4,heads:2,hidden:128``.

        Raises:
            ConfigError: another form, or a part that there is not.
        """
        names, found = [field.name for field in fields(cls)], {}
        for part in text.split(","):
            name, colon, count = part.strip().partition(":")
            if not colon or name not in names or name in found or not count.isdecimal() or int(count) < 1:
                raise ConfigError(
                    f"'{part}' of a budget",
                    expected=f"PART:COUNT, with {', '.join(names)} for the part, each once, and a count from 1",
                    remedy="Write, for example, depth:4,hidden:128.",
                )
            found[name] = int(count)
        return cls(**found)

    def __str__(self) -> str:
        parts = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ",".join(f"{name}:{count}" for name, count in parts if count is not None)

    def of(self, config: ViTConfig) -> ViTConfig:
        """Return the configuration of what is left of ``config``. Heads keep their width.

        Raises:
            ConfigError: there is not so much of it, nothing would be left out, or what is left would not be the first
                part of the same weights.
        """
        self._check(config)
        blocks = tuple(self._block(block) for block in config.blocks[: self.depth])
        if blocks == config.blocks:
            raise ConfigError(f"a budget {self} that leaves nothing out", expected="less", remedy="Ask for less.")
        fewer = any(len(block.heads) != config.head_count for block in blocks)
        return replace(
            config,
            blocks=blocks,
            head_width=config.head_dim if fewer else config.head_width,
            lepe=config.filters_per_head * max(len(block.heads) for block in blocks),
        )

    def _block(self, block: BlockConfig) -> BlockConfig:
        heads, hidden = self.heads or len(block.heads), self.hidden or block.hidden
        return replace(block, heads=block.heads[:heads], hidden=min(hidden, block.hidden))

    def _check(self, config: ViTConfig) -> None:
        blocks = config.blocks
        most = {
            "depth": config.depth,
            "heads": config.head_count,
            "hidden": max(block.hidden for block in blocks),
        }
        for name, count in most.items():
            wanted = getattr(self, name)
            if wanted is not None and not 1 <= wanted <= count:
                raise ConfigError(
                    f"{name}:{wanted} of a model with {count}", expected=f"1 to {count}", remedy="Correct the budget."
                )
        narrower = self.heads is not None or self.hidden is not None
        gated = any(block.gate is not None and block.gate.axis is GateAxis.CHANNEL for block in blocks)
        fused = any(block.activation is Activation.IDENTITY or block.gate is not None for block in blocks)
        problems = [
            (self.depth is not None and config.denoiser, "fewer blocks of a model with a denoiser in its last one"),
            (narrower and any(block.shares for block in blocks), "narrower blocks that share weights"),
            (narrower and any(block.ranks != FULL for block in blocks), "narrower layers of low rank"),
            (self.hidden is not None and (gated or fused), "narrower MLPs of blocks with gates or without activation"),
            (self.hidden is not None and any(block.hidden_norm for block in blocks), "narrower MLPs with batch norms"),
            (self.heads is not None and config.gmm > 0, "fewer heads of a model with masks on scores"),
        ]
        for wrong, got in problems:
            if wrong:
                raise ConfigError(
                    got,
                    expected="parts whose weights are the first ones of the whole model's",
                    remedy="Leave that part of the budget out.",
                )


@torch.no_grad()
def prefixed(model: VisionTransformer, prefix: Prefix) -> VisionTransformer:
    """Return what ``prefix`` leaves of ``model``, in eval mode, with copies of its weights.

    Raises:
        ConfigError: of :meth:`Prefix.of`.
    """
    part = VisionTransformer(prefix.of(model.config)).to(next(model.parameters()).dtype)
    whole, state = model.state_dict(), part.state_dict()
    part.load_state_dict({name: _first(name, whole[name], value.shape) for name, value in state.items()})
    return part.eval()


def _first(name: str, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the first part of a parameter; of all queries, keys and values the first of each."""
    if _QKV in name:
        thirds = value.reshape(3, -1, *value.shape[1:])
        return thirds[:, : shape[0] // 3].flatten(0, 1)
    return value[tuple(slice(0, size) for size in shape)]
