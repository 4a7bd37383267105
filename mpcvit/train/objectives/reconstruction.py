"""Masked autoencoding (MAE, He et al., CVPR 2022): pixels of hidden patches from the ones that are seen; no labels.

Axes: B batch, N patches, V visible ones, D width, P numbers in a patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis
from mpcvit.models.vit import Block, Intermediates, VisionTransformer, patchify

#: Added to the variance of a patch's pixels, as in the source.
_EPSILON = 1e-6
#: The decoder's MLPs are so many times wider than its stream.
_EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class ReconstructionSettings:
    """How much is hidden, and what puts it back.

    Attributes:
        mask_ratio: share of the patches that are hidden, between 0 and 1; 0.75 in MAE, 0.9 for chest X-rays.
        decoder_width, decoder_depth, decoder_heads: of the decoder, which is thrown away afterwards.

    Raises:
        ConfigError: a number is out of its range.
    """

    mask_ratio: float = 0.75
    decoder_width: int = 64
    decoder_depth: int = 1
    decoder_heads: int = 4

    def __post_init__(self) -> None:
        sizes = (self.decoder_width, self.decoder_depth, self.decoder_heads)
        if not 0 < self.mask_ratio < 1 or min(sizes) < 1 or self.decoder_width % max(self.decoder_heads, 1):
            raise ConfigError(
                f"a mask ratio of {self.mask_ratio}, and a decoder of width, depth and heads {sizes}",
                expected="a ratio between 0 and 1, and positive sizes, heads dividing the width",
                remedy="Correct 'reconstruction' in the training configuration.",
            )


class Reconstruction(nn.Module):
    """Mean squared error of the pixels of hidden patches, each patch normalised to mean 0 and variance 1.

    The model reads only what is visible, chosen at random for every picture; a small decoder of its own, which is
    trained along, reads what the model makes of it, and a learnt token in the place of every hidden patch.

    Args:
        config: the student's architecture.

    Raises:
        ConfigError: something in the student depends on where a patch lies, or would see hidden patches.
    """

    def __init__(self, settings: ReconstructionSettings, config: ViTConfig) -> None:
        super().__init__()
        check_free_of_places(config)
        self.patch = config.patch_size
        self.hidden = round(settings.mask_ratio * config.patches)
        if not 0 < self.hidden < config.patches:
            raise ConfigError(
                f"{self.hidden} of {config.patches} patches hidden",
                expected="at least one hidden and one visible",
                remedy="Correct reconstruction.mask_ratio.",
            )
        width = settings.decoder_width
        decoder = ViTConfig.uniform(
            AttentionKind.SOFTMAX,
            Activation.GELU,
            depth=settings.decoder_depth,
            head_count=settings.decoder_heads,
            hidden=_EXPANSION * width,
            image_size=config.image_size,
            patch_size=config.patch_size,
            channels=config.channels,
            classes=config.patch_values,
            dim=width,
        )
        made = VisionTransformer(decoder)
        self.enter = nn.Linear(config.dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.pos_embed, self.blocks, self.norm, self.predict = made.pos_embed, made.blocks, made.norm, made.head

    def forward(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; ``targets`` are not used."""
        assert isinstance(model, VisionTransformer)  # noqa: S101 - made for its configuration
        order_BN = torch.rand(len(images), model.config.patches, device=images.device).argsort(dim=1)
        predicted_BNP = self.reconstructed(model, images, order_BN)
        wanted_BNP = patchify(images.float(), self.patch)
        variance, mean = torch.var_mean(wanted_BNP, dim=-1, keepdim=True)
        wanted_BNP = (wanted_BNP - mean) / (variance + _EPSILON).sqrt()
        hidden = order_BN[:, -self.hidden :, None]
        difference = predicted_BNP.float() - wanted_BNP
        return difference.take_along_dim(hidden, dim=1).square().mean()

    def reconstructed(self, model: VisionTransformer, images: torch.Tensor, order_BN: torch.Tensor) -> torch.Tensor:
        """Return all patches [B, N, P] as put back from those that come first in ``order_BN``."""
        visible, own = order_BN[:, : -self.hidden, None], model.config.own_tokens
        x_BND = model.embed(images)
        x_BND = torch.cat([x_BND[:, :own], x_BND[:, own:].take_along_dim(visible, dim=1)], dim=1)
        out: Intermediates = {}
        for block in model.blocks:
            x_BND = block(x_BND, "", out)
        seen = self.enter(model.norm(x_BND)[:, own:])
        blank = self.mask_token.to(seen.dtype).expand(len(seen), self.hidden, -1)
        places = order_BN.argsort(dim=1)[..., None]
        x_BND = torch.cat([seen, blank], dim=1).take_along_dim(places, dim=1) + self.pos_embed
        for block in self.blocks:
            assert isinstance(block, Block)  # noqa: S101
            x_BND = block(x_BND, "", out)
        predicted: torch.Tensor = self.predict(self.norm(x_BND))
        return predicted


def check_free_of_places(config: ViTConfig) -> None:
    """Raise ConfigError unless every block of ``config`` can read some of the patches only."""
    foreign = {
        "lepe": config.lepe > 0,
        "gmm": config.gmm > 0,
        "prompts": config.prompts is not None,
        "a denoiser": config.denoiser,
        "token reductions": any(block.reduction is not None for block in config.blocks),
        "gates over tokens": any(
            block.gate is not None and block.gate.axis is GateAxis.TOKEN for block in config.blocks
        ),
    }
    kinds = {f"{kind} heads": True for block in config.blocks for kind in block.heads if kind.facts.placed}
    found = [what for what, there in {**foreign, **kinds}.items() if there]
    if found:
        raise ConfigError(
            f"the objective 'reconstruction' for a model with {', '.join(found)}",
            expected="a model in which nothing depends on where a patch lies but the position embedding",
            remedy="Pre-train without them, such as with --set architecture.lepe=0, and add them in the next stage.",
        )
