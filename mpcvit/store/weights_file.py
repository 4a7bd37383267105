"""Weights in safetensors files as people have them: what wraps their names, and why a model cannot take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mpcvit.errors import ModelFileError

Tensors = Mapping[str, torch.Tensor]

#: Parts of names that come from what a training script wraps a model in, and say nothing of the model.
_WRAPPERS = {
    "module",  # DataParallel, DistributedDataParallel
    "model",
    "state_dict",
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
}
#: Where a picture enters a model, and where its answer leaves: a zero here answers all pictures in the same way.
_ENDS = ("patch_embed.proj.weight", "patch_embed.weight", "stem.conv1.weight", "stem1.conv.weight", "head.weight")
_BLOCKS = ("blocks.", "stages.")
_SHOWN = 3


def unwrapped(tensors: Tensors, path: Path, own: str | None = None) -> dict[str, torch.Tensor]:
    """Return ``tensors`` as float32, or whole numbers, without wrappers in their names: ``module.``, ``_orig_mod.``,
    ...

    Whatever all names begin with is a wrapper, too, if a model's blocks come after it: ``backbone.blocks.0``.

    Args:
        path: where they are from.
        own: what all names of the model's own begin with, up to the first dot, which is no wrapper; None for nothing.

    Raises:
        ModelFileError: two names become the same: there are several models in the file.
    """
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        bare = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if bare in result:
            raise ModelFileError(
                f"several tensors for '{bare}' in {path}",
                expected="the weights of one model",
                remedy="Save one model's state_dict() to a file of its own.",
            )
        result[bare] = tensor.float() if tensor.is_floating_point() else tensor
    first = {name.partition(".")[0] for name in result}
    inner = {name.partition(".")[2]: tensor for name, tensor in result.items()}
    return inner if len(first) == 1 and first != {own} and any(name.startswith(_BLOCKS) for name in inner) else result


def require_sound(tensors: Tensors, path: Path) -> None:
    """See that ``tensors`` are numbers with which a model answers different pictures differently.

    Raises:
        ModelFileError: some are NaN or infinite, or all, or those at one end of the model, are zero.
    """
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ModelFileError(
            f"NaN or infinite weights in {path}: {_some(broken)}",
            expected="finite numbers",
            remedy="Take an earlier checkpoint, from before the training diverged, or fetch the file again.",
        )
    matrices = [name for name, tensor in tensors.items() if tensor.ndim > 1 and tensor.is_floating_point()]
    zero = [name for name in matrices if not bool(tensors[name].any())]
    if matrices and (zero == matrices or set(zero) & set(_ENDS)):
        names = "all of them" if zero == matrices else _some([name for name in zero if name in _ENDS])
        raise ModelFileError(
            f"weights that are all zero in {path}: {names}",
            expected="the weights of a trained model; with these the answer is the same for all pictures",
            remedy="Save the weights after training, or fetch the file again.",
        )


def misfit(expected: Tensors, found: Tensors) -> str:
    """Return how ``found`` differs from what a model takes, telling parts first; empty if it does not."""
    common = [name for name in expected if name in found]
    shapes = [
        f"{name} is {list(found[name].shape)} instead of {list(expected[name].shape)}"
        for name in common
        if found[name].shape != expected[name].shape
    ]
    kinds = not_floats(expected, found)
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    listed = (("", shapes), ("", kinds), ("Missing keys: ", missing), ("Unexpected keys: ", unexpected))
    return "; ".join(f"{title}{_some(names)}" for title, names in listed if names)


def not_floats(expected: Tensors, found: Tensors) -> list[str]:
    """Return the tensors in ``found`` that are whole numbers where ``expected`` is not: quantized ones, that need a
    scale.
    """
    return [
        f"{name} is {_kind(found[name])} instead of {_kind(tensor)}"
        for name, tensor in expected.items()
        if name in found and tensor.is_floating_point() and not found[name].is_floating_point()
    ]


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(names: Sequence[str]) -> str:
    """Return the first few, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
