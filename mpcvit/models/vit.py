"""The Vision Transformer (Dosovitskiy et al. 2021) with a kind per head and an activation per block.

Axes: B batch, N tokens, D width, H heads, C channels, P patch side.
"""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.compat import prepare_torchvision
from mpcvit.models.activation import ACTIVATIONS, HardGate, RelaxedGate
from mpcvit.models.attention import KERNELS, AttentionKernel
from mpcvit.models.attention.gmm_mask import GmmMask
from mpcvit.models.attention.lepe import Lepe
from mpcvit.models.block import FULL, BlockConfig, LayerRanks
from mpcvit.models.config import ViTConfig
from mpcvit.models.dynamic_prompts import DynamicPrompts
from mpcvit.models.hidden_norm import HiddenNorm
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis
from mpcvit.models.low_rank import make_linear
from mpcvit.models.norm import LayerNorm, token_norm
from mpcvit.models.reduction import REDUCTIONS, TokenReduction
from mpcvit.models.reduction.evit import EvitReduction
from mpcvit.models.sharing import share_weights
from mpcvit.models.token_flow import Tokens
from mpcvit.models.transformations import HeadMixing, PatchConvolution, Transformations

prepare_torchvision()

from timm.layers import DropPath, trunc_normal_  # noqa: E402

Intermediates = dict[str, torch.Tensor]


class Attention(nn.Module):
    """Multi-head attention in which heads of one kind run together.

    ``qkv`` holds all heads' Q, then K, then V, heads in configuration order.

    Attributes:
        kernels: by a kind's value, what the heads of this kind do; kinds in the order of their first heads.
        mask: what the scores of all heads are multiplied with, if the model has masks.
        lepe: what is made of V and added to the heads' outputs, if the model has it.
        mixing: how heads mix before and after their function, if the block has that of its own.
        quantize_q, quantize_k, quantize_v: what the operands of the products go through; a quantized model has
            quantizers there.
    """

    def __init__(
        self,
        config: ViTConfig,
        kinds: tuple[AttentionKind, ...],
        ranks: LayerRanks = FULL,
        tokens: Tokens | None = None,
        transformations: Transformations | None = None,
    ) -> None:
        super().__init__()
        self.kinds = kinds
        self.head_dim = config.head_dim
        self.kernels = nn.ModuleDict(
            {kind.value: KERNELS[kind](config, kinds.count(kind), tokens) for kind in dict.fromkeys(kinds)}
        )
        self.mask = GmmMask(config, len(kinds), tokens) if config.gmm else None
        self.lepe = Lepe(config, len(kinds), tokens) if config.lepe and (tokens is None or tokens.side) else None
        self.mixing = HeadMixing(len(kinds)) if transformations is not None and transformations.heads else None
        self.quantize_q: nn.Module = nn.Identity()
        self.quantize_k: nn.Module = nn.Identity()
        self.quantize_v: nn.Module = nn.Identity()
        inner = len(kinds) * config.head_dim
        self.qkv = make_linear(config.dim, 3 * inner, ranks.qkv)
        self.proj = make_linear(inner, config.dim, ranks.proj)

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return mixed tokens, of the shape of ``x_BND``."""
        return self.mix(*self.heads(x_BND))

    def mix(self, q_BHND: torch.Tensor, k_BHND: torch.Tensor, v_BHND: torch.Tensor) -> torch.Tensor:
        """Return mixed tokens [B, N, D] from what :meth:`heads` gives."""
        values_BHND = v_BHND
        if self.mixing is not None:
            q_BHND, k_BHND, v_BHND = self.mixing.widen(q_BHND, k_BHND, v_BHND)
        output_BHND = torch.empty_like(v_BHND)
        mask_HNN = None if self.mask is None else self.mask()
        for kind, kernel in self.kernels.items():
            members = self._members(kind)
            masks = () if mask_HNN is None else (mask_HNN[members],)
            mixed_BHND = kernel(q_BHND[:, members], k_BHND[:, members], v_BHND[:, members], *masks)
            output_BHND[:, members] = mixed_BHND.to(output_BHND.dtype)  # under autocast, sums are float32
        if self.mixing is not None:
            output_BHND = self.mixing.join(output_BHND)
        if self.lepe is not None:
            output_BHND = output_BHND + self.lepe(values_BHND)
        projected: torch.Tensor = self.proj(output_BHND.transpose(1, 2).flatten(2))
        return projected

    def heads(self, x_BND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the queries (scaled), keys and values of all heads, [B, H, N, head dim] each."""
        batch, tokens, _ = x_BND.shape
        qkv = self.qkv(x_BND).reshape(batch, tokens, 3, len(self.kinds), self.head_dim).permute(2, 0, 3, 1, 4)
        q_BHND, k_BHND, v_BHND = qkv.unbind(0)
        return self.quantize_q(q_BHND * self.head_dim**-0.5), self.quantize_k(k_BHND), self.quantize_v(v_BHND)

    def _members(self, kind: str) -> slice | list[int]:
        """Return the heads of a kind; a slice, which copies nothing, where they are neighbours."""
        heads = [head for head, other in enumerate(self.kinds) if other == kind]
        first, last = heads[0], heads[-1]
        return slice(first, last + 1) if last - first == len(heads) - 1 else heads


class Mlp(nn.Module):
    """Two linear layers with the block's activation between them, where its gate applies it, and a norm behind that."""

    def __init__(
        self,
        config: ViTConfig,
        block: BlockConfig,
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__()
        own = block.transformations
        self.convolution: PatchConvolution | None = None
        if own is not None and own.convolution:
            self.convolution = PatchConvolution(config.dim, own.convolution, tokens or config.input_tokens)
        self.fc1 = make_linear(config.dim, block.hidden, block.ranks.fc1)
        self.fc2 = make_linear(block.hidden, config.dim, block.ranks.fc2)
        self.activation = block.activation
        self.act = ACTIVATIONS[block.activation]()
        self.sizes = {GateAxis.TOKEN: (tokens or config.input_tokens).count, GateAxis.CHANNEL: block.hidden}
        self.norm = HiddenNorm(block.hidden) if block.hidden_norm else None
        self.post_relu = block.post_relu
        self.gate: HardGate | RelaxedGate | None = None
        if block.gate is not None:
            self.gate = HardGate(block.gate, self.sizes[block.gate.axis])

    def relax(self, axis: GateAxis) -> RelaxedGate:
        """Put a learnable gate here, for a search, and return it; it begins with what the gate did before."""
        before = self.gate if isinstance(self.gate, HardGate) else None
        self.gate = RelaxedGate(axis, self.sizes[axis], before).to(next(self.parameters()).device)
        return self.gate

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        """Return transformed tokens, of the shape of ``x_BND``."""
        h_BNM = self.fc1(x_BND if self.convolution is None else self.convolution(x_BND))
        activated_BNM = self.act(h_BNM)
        if self.gate is not None:
            activated_BNM = self.gate(h_BNM, activated_BNM)
        if self.norm is not None:
            activated_BNM = self.norm(activated_BNM)
        transformed: torch.Tensor = self.fc2(activated_BNM)
        return self._behind(transformed) if self.post_relu else transformed

    def _behind(self, y_BND: torch.Tensor) -> torch.Tensor:
        """Return ``y_BND`` with a ReLU at tokens that got no activation: beta * y + (1 - beta) * ReLU(y)."""
        if self.activation is Activation.IDENTITY:
            return y_BND.relu()
        over_tokens = self.gate is not None and self.gate.axis is GateAxis.TOKEN
        return self.gate(y_BND.relu(), y_BND) if self.gate is not None and over_tokens else y_BND


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Attributes:
        entry: what reduces the tokens before the attention, if anything does.
        select: what reduces them between attention and MLP, by the attention's queries and keys.
    """

    def __init__(self, config: ViTConfig, number: int, drop_path: float) -> None:
        super().__init__()
        block, tokens = config.blocks[number], config.block_tokens[number]
        attention_norm, mlp_norm = block.norms
        self.entry, self.select = _reduction(config, number)
        self.norm1 = token_norm(attention_norm, config)
        self.attn = Attention(config, block.heads, block.ranks, tokens.attention, block.transformations)
        self.norm2 = token_norm(mlp_norm, config)
        self.mlp = Mlp(config, block, tokens.mlp)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BND: torch.Tensor, name: str, out: Intermediates) -> torch.Tensor:
        """Return the residual stream after the block.

        Intermediates go to ``out`` as ``name.attn``, ``name.mlp``, ``name``.

        Where tokens are reduced, the stream behind that is ``name.reduced``.
        """
        if self.entry is not None:
            out[f"{name}.reduced"] = x_BND = self.entry(x_BND)
        q_BHND, k_BHND, v_BHND = self.attn.heads(self.norm1(x_BND))
        out[f"{name}.attn"] = y_BND = self.attn.mix(q_BHND, k_BHND, v_BHND)
        x_BND = x_BND + self.drop_path(y_BND)
        if self.select is not None:
            out[f"{name}.reduced"] = x_BND = self.select(x_BND, q_BHND, k_BHND)
        out[f"{name}.mlp"] = y_BND = self.mlp(self.norm2(x_BND))
        out[name] = x_BND = x_BND + self.drop_path(y_BND)
        return x_BND


class VisionTransformer(nn.Module):
    """The model of a :class:`ViTConfig`.

    Args:
        config: the architecture.
        drop_path_rate: chance of skipping a branch in training; grows linearly with depth up to this value.
    """

    def __init__(self, config: ViTConfig, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.num_classes = config.classes  # the name that timm expects
        self.patch_embed = nn.Linear(config.patch_values, config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(config.class_token + config.patches, config.dim))
        self.cls_token = nn.Parameter(torch.zeros(1, config.dim)) if config.class_token else None
        drops = torch.linspace(0, drop_path_rate, config.depth).tolist()
        self.blocks = nn.ModuleList(Block(config, number, drop) for number, drop in enumerate(drops))
        self.norm = LayerNorm(config.dim, config.norm_epsilon)
        self.head = nn.Linear(config.dim, config.classes)
        self.registers = nn.Parameter(torch.zeros(config.registers, config.dim)) if config.registers else None
        self.prompts = DynamicPrompts(config.prompts, config.dim) if config.prompts is not None else None
        self.denoiser_embed: nn.Parameter | None = None
        if config.denoiser:
            self.denoiser_embed = nn.Parameter(torch.zeros(config.block_tokens[-1].entry.count, config.dim))
        self.apply(_initialise)
        trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            trunc_normal_(self.cls_token, std=0.02)
        if self.registers is not None:
            trunc_normal_(self.registers, std=0.02)
        if self.prompts is not None:
            self.prompts.initialise()
        share_weights(self, self.blocks, config.owners, [block.transformations is not None for block in config.blocks])

    def intermediates(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, Intermediates]:
        """Return the logits [B, classes], and every block's results by name."""
        x_BND, out = self.tokens(images_BCHW)
        pooled_BD = x_BND[:, 0] if self.config.class_token else x_BND[:, self.config.own_tokens :].mean(dim=1)
        out["pooled"] = pooled_BD = self.norm(pooled_BD)
        out["logits"] = logits = self.head(pooled_BD)
        return logits, out

    def tokens(self, images_BCHW: torch.Tensor) -> tuple[torch.Tensor, Intermediates]:
        """Return the residual stream [B, N, D] behind the last block, and every block's results by name."""
        out: Intermediates = {}
        out["embed"] = x_BND = self.embed(images_BCHW)
        for number, block in enumerate(self.blocks):
            if self.denoiser_embed is not None and number == self.config.depth - 1:
                x_BND = x_BND + self.denoiser_embed
            x_BND = block(x_BND, f"block{number}", out)
        return x_BND, out

    def embed(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the tokens that enter the first block [B, N, D]: class token, registers, prompts, patches."""
        x_BND = self.patch_embed(patchify(images_BCHW, self.config.patch_size))
        if self.cls_token is not None:
            x_BND = torch.cat([self.cls_token.expand(len(x_BND), 1, -1), x_BND], dim=1)
        x_BND = x_BND + self.pos_embed
        first = int(self.config.class_token)
        extra = [] if self.registers is None else [self.registers.expand(len(x_BND), -1, -1).to(x_BND.dtype)]
        if self.prompts is not None:
            extra.append(self.prompts(x_BND[:, first:]))
        return torch.cat([x_BND[:, :first], *extra, x_BND[:, first:]], dim=1) if extra else x_BND

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, classes] of normalised images."""
        return self.intermediates(images_BCHW)[0]

    def no_weight_decay(self) -> set[str]:
        """Return the names, with wildcards, that timm's optimisers leave without weight decay."""
        learnt = {"pos_embed", "cls_token", "registers", "prompts.queries", "prompts.base", "denoiser_embed"}
        return learnt | {"*.attn.mask.*", "*.attn.mixing.*"}


def patchify(images_BCHW: torch.Tensor, patch: int) -> torch.Tensor:
    """Return the tokens [B, N, C * P * P]: each patch's values, channel first, rows of patches from the top left."""
    batch, channels, height, width = images_BCHW.shape
    grid = images_BCHW.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def _reduction(config: ViTConfig, number: int) -> tuple[TokenReduction | None, TokenReduction | None]:
    """Return what reduces a block's tokens: at its entry, behind its attention."""
    reduction, tokens = config.blocks[number].reduction, config.block_tokens[number]
    if reduction is None:
        return None, None
    made = REDUCTIONS[reduction.kind](config.dim, tokens.entry, tokens.mlp)
    if isinstance(made, EvitReduction):
        made.ranking = reduction.ranking
    return (None, made) if reduction.kind.facts.behind_attention else (made, None)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02 if module.in_features >= 128 else module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, AttentionKernel):  # after the linear layers inside it
        module.initialise()
