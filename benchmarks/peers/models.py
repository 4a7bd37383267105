"""The models that all systems are timed on: sizes, fixed-seed weights and one definition of the forward pass.

The weights are random, and scaled so that the secure operations see values like those of trained models: attention
scores have a deviation of about 2, the variance in a layer norm is 0.3 to 20. Inputs are patches already cut out of the
picture: cutting is public and local.

``forward`` is written over a set of operations: :class:`NumpyOps` makes it the reference, each system brings its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

# T tokens, P values per patch, D width, H heads, E head width, M hidden width, C classes.

Array = npt.NDArray[Any]
Parameters = dict[str, Any]
ATTENTIONS = ("softmax", "relu_softmax", "scaling")
ACTIVATIONS = ("gelu", "relu", "identity")
RELU_SOFTMAX_EPSILON = 0.01
LAYER_NORM_EPSILON = 1e-5
_PARAMETER_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pre-norm ViT.

    Attributes:
        patches: patches of a picture.
        patch_values: numbers in a patch; 0: the input is embedded already and the output is tokens, without a head.
        class_token: whether the head reads an extra token; otherwise it reads the mean.
        input_seed: of the picture; chosen so that the best logit leads by far more than any system's error.
    """

    patches: int
    patch_values: int
    dim: int
    depth: int
    heads: int
    hidden: int
    classes: int = 0
    class_token: bool = False
    input_seed: int = 1

    @property
    def tokens(self) -> int:
        """Length of the sequence that attention sees."""
        return self.patches + int(self.class_token)


MODELS = {
    # CIFAR pictures of 32 x 32, patches of 4 x 4
    "vit_7_4_32": Model(patches=64, patch_values=48, dim=256, depth=7, heads=4, hidden=512, classes=10, input_seed=10),
    # 224 x 224, patches of 16 x 16
    "deit_tiny": Model(
        patches=196,
        patch_values=768,
        dim=192,
        depth=12,
        heads=3,
        hidden=768,
        classes=1000,
        class_token=True,
        input_seed=4,
    ),
    "vit_base_block": Model(patches=197, patch_values=0, dim=768, depth=1, heads=12, hidden=3072),
}


def make_parameters(model: Model) -> Parameters:
    """float32 weights by name, always the same; matrices are [in, out]."""
    rng = np.random.default_rng(_PARAMETER_SEED)

    def matrix(rows: int, columns: int) -> Array:
        return (rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)

    def small(*shape: int) -> Array:
        return (0.02 * rng.standard_normal(shape)).astype(np.float32)

    parameters: Parameters = {}

    def linear(name: str, rows: int, columns: int) -> None:
        parameters[f"{name}.weight"] = matrix(rows, columns)
        parameters[f"{name}.bias"] = small(columns)

    def norm(name: str) -> None:
        parameters[f"{name}.gain"] = 1 + small(model.dim)
        parameters[f"{name}.bias"] = small(model.dim)

    if model.patch_values:
        linear("embed", model.patch_values, model.dim)
        parameters["position"] = small(model.tokens, model.dim)
    if model.class_token:
        parameters["class_token"] = 25 * small(1, model.dim)
    for block in range(model.depth):
        norm(f"block{block}.norm1")
        linear(f"block{block}.qkv", model.dim, 3 * model.dim)
        parameters[f"block{block}.qkv.weight"][:, : 2 * model.dim] *= 1.5  # scores with a deviation of about 2
        linear(f"block{block}.projection", model.dim, model.dim)
        norm(f"block{block}.norm2")
        linear(f"block{block}.expand", model.dim, model.hidden)
        linear(f"block{block}.contract", model.hidden, model.dim)
    if model.classes:
        norm("norm")
        linear("head", model.dim, model.classes)
    return parameters


def make_input(model: Model) -> Array:
    """Return a normalised random picture as float32 patches [T, P], or tokens [T, D]."""
    rng = np.random.default_rng(model.input_seed)
    return rng.standard_normal((model.patches, model.patch_values or model.dim)).astype(np.float32)


def forward(model: Model, attention: str, activation: str, p: Parameters, x: Any, ops: Any) -> Any:
    """Logits [C], or tokens [T, D] for a model without a head."""
    h_TD = x
    if model.patch_values:
        h_TD = x @ p["embed.weight"] + p["embed.bias"]
        if model.class_token:
            h_TD = ops.concat([p["class_token"], h_TD])
        h_TD = h_TD + p["position"]
    for number in range(model.depth):
        name = f"block{number}"
        h_TD = h_TD + _attend(model, attention, name, p, _norm(f"{name}.norm1", p, h_TD, ops), ops)
        y_TM = _norm(f"{name}.norm2", p, h_TD, ops) @ p[f"{name}.expand.weight"] + p[f"{name}.expand.bias"]
        if activation != "identity":
            y_TM = getattr(ops, activation)(y_TM)
        h_TD = h_TD + y_TM @ p[f"{name}.contract.weight"] + p[f"{name}.contract.bias"]
    if not model.classes:
        return h_TD
    h_TD = _norm("norm", p, h_TD, ops)
    read_1D = h_TD[0:1] if model.class_token else ops.mean(h_TD, 0)
    return (read_1D @ p["head.weight"] + p["head.bias"])[0]


def _attend(model: Model, attention: str, name: str, p: Parameters, x_TD: Any, ops: Any) -> Any:
    T, D, H = model.tokens, model.dim, model.heads
    qkv = (x_TD @ p[f"{name}.qkv.weight"] + p[f"{name}.qkv.bias"]).reshape(T, 3, H, D // H)
    qkv_3HTE = ops.permute(qkv, (1, 2, 0, 3))
    q_HTE, k_HTE, v_HTE = qkv_3HTE[0], qkv_3HTE[1], qkv_3HTE[2]
    s_HTT = (q_HTE * (D // H) ** -0.5) @ ops.permute(k_HTE, (0, 2, 1))
    a_HTT = s_HTT * (1.0 / T) if attention == "scaling" else getattr(ops, attention)(s_HTT)
    y_TD = ops.permute(a_HTT @ v_HTE, (1, 0, 2)).reshape(T, D)
    return y_TD @ p[f"{name}.projection.weight"] + p[f"{name}.projection.bias"]


def _norm(name: str, p: Parameters, x_TD: Any, ops: Any) -> Any:
    difference = x_TD - ops.mean(x_TD, -1)
    variance = ops.mean(ops.square(difference), -1)
    return difference * ops.inverse_sqrt(variance + LAYER_NORM_EPSILON) * p[f"{name}.gain"] + p[f"{name}.bias"]


Gelu = Literal["exact", "tanh", "sigmoid"]


class NumpyOps:
    """Plain operations; ``gelu`` says by which formula."""

    def __init__(self, gelu: Gelu = "exact") -> None:
        self._gelu = gelu

    concat = staticmethod(np.concatenate)
    permute = staticmethod(np.transpose)
    square = staticmethod(np.square)

    @staticmethod
    def mean(x: Array, axis: int) -> Array:
        """Keep the axis."""
        return np.asarray(x.mean(axis, keepdims=True))

    @staticmethod
    def inverse_sqrt(x: Array) -> Array:
        """1 / sqrt(x)."""
        return 1 / np.sqrt(x)

    @staticmethod
    def relu(x: Array) -> Array:
        """max(x, 0)."""
        return np.maximum(x, 0)

    @staticmethod
    def softmax(x: Array) -> Array:
        """Over the last axis."""
        e = np.exp(x - x.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    @staticmethod
    def relu_softmax(x: Array) -> Array:
        """Over the last axis."""
        e = np.maximum(x, 0)
        return np.asarray(e / (e.sum(-1, keepdims=True) + RELU_SOFTMAX_EPSILON))

    def gelu(self, x: Array) -> Array:
        """x times the normal distribution function, or an approximation of it."""
        if self._gelu == "tanh":
            return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        if self._gelu == "sigmoid":
            return x / (1 + np.exp(-1.702 * x))
        from scipy.special import erf

        return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))


def reference(model: Model, attention: str, activation: str, gelu: Gelu = "exact") -> Array:
    """Output in float64."""
    wide = {name: value.astype(np.float64) for name, value in make_parameters(model).items()}
    picture = make_input(model).astype(np.float64)
    return np.asarray(forward(model, attention, activation, wide, picture, NumpyOps(gelu)))
