"""One group of heads as a Program of its own: what a lowering gives, without the rest of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from mpcvit.export.attention import ATTENTION, Heads
from mpcvit.export.builder import Builder, Precision, Value
from mpcvit.models.attention import KERNELS, AttentionKernel
from mpcvit.models.attention.gmm_mask import GmmMask
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes, encode
from mpcvit.ring.qtype import QType
from tests.support.columns import configured

HEADS, BATCH = 3, 4

#: 4 x 4 patches and a class token, three heads of width 5.
CONFIG = configured(
    image_size=16,
    patch_size=4,
    classes=3,
    dim=15,
    hidden=8,
    heads=((AttentionKind.SOFTMAX,) * HEADS,),
    activation=(Activation.RELU,),
    class_token=True,
    linformer_rank=6,
    pooled_side=2,
)
#: Where keys are averaged over windows of 3 x 3 patches: division by what is no power of two.
WIDE = replace(CONFIG, image_size=24, class_token=False)

#: Name of a group -> its kind, the model, and whether scores are masked.
GROUPS: dict[str, tuple[AttentionKind, ViTConfig, bool]] = {
    **{kind.value: (kind, CONFIG, False) for kind in AttentionKind},
    **{f"{kind}-masked": (kind, CONFIG, True) for kind in AttentionKind if kind.facts.scored},
    "pooled_kv-3x3": (AttentionKind.POOLED_KV, WIDE, False),
}


@dataclass(frozen=True)
class HeadGroup:
    """A lowered group.

    Attributes:
        program: from ``q``, ``keys`` and ``v`` to the output [H, N, D].
        weights: of the Program.
        inputs: codes of a batch.
        exact: the kernel's output on that batch, float64 [B, H, N, D].
        fidelity: largest difference between the kernel and the lowering in real numbers.
    """

    program: Program
    weights: dict[str, Codes]
    inputs: dict[str, Codes]
    exact: np.ndarray
    fidelity: float

    def inputs_of(self, number: int) -> dict[str, Codes]:
        """One element of the batch."""
        return {name: codes[number] for name, codes in self.inputs.items()}


def make_kernel(kind: AttentionKind, config: ViTConfig = CONFIG) -> AttentionKernel:
    """Three heads, float64, whose parameters are not those of a new model."""
    torch.manual_seed(3)
    kernel = KERNELS[kind](config, HEADS).double().requires_grad_(False)
    for parameter in kernel.parameters():
        parameter.mul_(1 + 0.3 * torch.randn_like(parameter)).add_(0.2 / config.tokens * torch.randn_like(parameter))
    return kernel


def make_mask(config: ViTConfig = CONFIG) -> torch.Tensor:
    """Masks [H, N, M] of components narrow and wide, positive and negative."""
    torch.manual_seed(5)
    mask = GmmMask(replace(config, gmm=2), HEADS).double().requires_grad_(False)
    mask.alpha.copy_(torch.tensor([[1.0, 0.5], [0.3, 1.5], [-0.5, 1.0]]))
    mask.sigma.copy_(torch.tensor([[0.7, 3.0]]))
    return mask()


def make_qkv(config: ViTConfig = CONFIG, batch: int = BATCH) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normal numbers [B, H, N, D], the queries scaled."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, batch, HEADS, config.tokens, config.head_dim, dtype=torch.float64)
    return q * config.head_dim**-0.5, k, v


def make_group(name: str, change: Callable[[AttentionKernel], None] = lambda kernel: None) -> HeadGroup:
    """The group called ``name``, its kernel changed before."""
    kind, config, masked = GROUPS[name]
    kernel, mask = make_kernel(kind, config), make_mask(config) if masked else None
    change(kernel)
    q, k, v = make_qkv(config)
    exact = kernel(q, k, v) if mask is None else kernel(q, k, v, mask)
    query_gain = ATTENTION[kind].query_gain
    if query_gain is not None:
        q = q * query_gain(kernel, config.tokens).expand(HEADS)[:, None, None]
    b = Builder(Precision())

    def given(name: str, real: torch.Tensor) -> Value:
        bound = float(real.abs().max())
        return b.input(name, real, QType(frac=b.precision.frac, lo=-bound, hi=bound))

    heads = Heads(given("q", q), given("keys", k.mT), given("v", v), kernel, mask)
    output = ATTENTION[kind].lower(b, kind.value, heads)
    program = b.program(output)
    inputs = {
        key: encode(real.numpy(), program.inputs[key].qtype) for key, real in (("q", q), ("keys", k.mT), ("v", v))
    }
    return HeadGroup(program, b.weights, inputs, exact.numpy(), float((output.real - exact).abs().max()))
