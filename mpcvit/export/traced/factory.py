"""Modules that users name as ``package.file:factory``, and what is to be known of one before it is traced."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.export.traced.model import TracedConfig, TracedModel
from mpcvit.inputs import InputSpec
from mpcvit.models.low_rank import put_low_rank
from mpcvit.store.weights_file import misfit, require_sound, unwrapped

_FORM = "package.file:factory or folder/file.py:factory"
_CHANNELS = 3


@dataclass(frozen=True)
class ModuleFacts:
    """What a module's pictures are.

    Attributes:
        input: what it reads; an RGB picture, if the module names nothing else.
        mean, std: per channel, for pixels in [0, 1].
    """

    input: InputSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]


def module_from(name: str) -> nn.Module:
    """Return what the factory ``name`` makes, in eval mode. Its code runs; the current folder is searched first.

    Raises:
        ConfigError: there is no such factory, it raises, or it returns something else.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(f"--module {name}", expected=_FORM, remedy="Name the file and the factory in it.")
    with _importable_from(place):
        factory = _factory(place, attribute)
        try:
            module = factory()
        except Exception as error:  # whatever the user's code raises
            raise ConfigError(
                f"{_told(error)} when '{name}' was called",
                expected="a factory that takes no arguments and returns a module",
                remedy="Call it in Python by itself, and correct it.",
            ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"a {type(module).__name__} from '{name}'",
            expected="a torch.nn.Module",
            remedy="Return the module from the factory.",
        )
    return module.eval()


@contextmanager
def _importable_from(place: str) -> Iterator[None]:
    """Let what lies beside a file, or in the current folder, be imported: when it is read, and when it is called."""
    path = Path(place)
    here = str((path.parent if path.suffix == ".py" else Path()).absolute())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _factory(place: str, attribute: str) -> Callable[[], Any]:
    try:
        found = getattr(_imported(place), attribute, None)
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(
            f"{_told(error)} when '{place}' was imported",
            expected=f"{_FORM}, importable from {sys.path[0]}",
            remedy="Run from the folder that holds the package, or install it.",
        ) from error
    if not callable(found):
        raise ConfigError(
            f"{'nothing' if found is None else type(found).__name__} called '{attribute}' in '{place}'",
            expected="a function that takes no arguments and returns a module",
            remedy=f"Correct the name: {_FORM}.",
        )
    factory: Callable[[], Any] = found
    return factory


def _imported(place: str) -> ModuleType:
    """Return a package's module, or that in a file, whose name may be that of a module of Python's own."""
    path = Path(place)
    if path.suffix != ".py":
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(f"_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses, for one, look there
    spec.loader.exec_module(module)
    return module


def load_into(module: nn.Module, path: Path, name: str) -> None:
    """Give ``module`` the weights in a safetensors file, and layers of low rank where the file has two factors.

    Raises:
        ModelFileError: the file cannot be read, or is of another module.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{type(error).__name__} reading {path}",
            expected="a safetensors file of the module's state_dict()",
            remedy="Write it with safetensors.torch.save_file(module.state_dict(), path).",
        ) from error
    _make_low_rank(module, tensors)
    expected = module.state_dict()
    # a module's own names may begin like a wrapper's
    found = tensors if not misfit(expected, tensors) else unwrapped(tensors, path)
    if wrong := misfit(expected, found):
        raise ModelFileError(
            f"weights of another module than '{name}' in {path}: {wrong}",
            expected="a tensor of the right shape for every parameter and buffer",
            remedy="Save the state_dict() of the module that the factory makes.",
        )
    require_sound(found, path)
    module.load_state_dict(found)


def _make_low_rank(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace linear layers of which ``tensors`` has factors, as 'mpcvit compress' writes them."""
    factor = ".down.weight"
    for name, layer in list(module.named_modules()):
        if type(layer) is nn.Linear and {f"{name}{factor}", f"{name}.up.weight"} <= tensors.keys():
            put_low_rank(module, name, len(tensors[f"{name}{factor}"]))


def module_facts(module: nn.Module, image_size: int | None, mean: str | None, std: str | None) -> ModuleFacts:
    """Return what the user typed, or else what attributes of ``module`` say: input_spec or image_size; mean, std.

    Raises:
        ConfigError: neither says, or not in numbers, or both say what cannot be.
    """
    spec = getattr(module, "input_spec", None)
    if spec is not None:
        if not isinstance(spec, InputSpec) or image_size is not None:
            raise ConfigError(
                f"--image-size {image_size} for a module that reads {spec}"
                if isinstance(spec, InputSpec)
                else f"a {type(spec).__name__} as the module's input_spec",
                expected="a mpcvit.inputs.InputSpec as input_spec, and no --image-size",
                remedy="Correct the attribute, or leave the option out.",
            )
        return ModuleFacts(spec, _numbers(module, "mean", mean, spec), _numbers(module, "std", std, spec))
    size = image_size if image_size is not None else getattr(module, "image_size", None)
    if not isinstance(size, int) or size < 1:
        raise ConfigError(
            f"{'no' if size is None else size} image size for the module",
            expected="the side of its pictures in pixels",
            remedy="Add --image-size, or give the module an attribute image_size.",
        )
    spec = InputSpec(shape=(_CHANNELS, size, size))
    return ModuleFacts(spec, _numbers(module, "mean", mean, spec), _numbers(module, "std", std, spec))


def _numbers(module: nn.Module, name: str, typed: str | None, spec: InputSpec) -> tuple[float, ...]:
    given: Any = getattr(module, name, None) if typed is None else typed.split(",")
    try:
        numbers = tuple(float(number) for number in given)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != spec.channels or (name == "std" and min(numbers) <= 0):
        raise ConfigError(
            f"no {name} of the module's pictures" if given is None else f"{name} {given}",
            expected=f"{spec.channels} numbers, for pixels in [0, 1]{', above 0' if name == 'std' else ''}",
            remedy=f"Add --{name} {','.join(['0.5'] * spec.channels)} as the module was trained, or give the module an "
            f"attribute {name}.",
        )
    return numbers


def traced_model(module: nn.Module, *input_shape: int) -> TracedModel:
    """Return ``module`` as a model, the shape of its answer found by a black picture.

    Args:
        input_shape: [channels, height, width], or that of another input.

    Raises:
        ConfigError: it takes no such picture, or gives no logits.
    """
    shape = [1, *input_shape]
    try:
        with torch.no_grad():
            answer = module(torch.zeros(shape))
    except Exception as error:  # whatever the module's code raises
        raise ConfigError(
            f"{_told(error)} for a picture {shape}",
            expected="a module that takes normalised pictures [count, channels, height, width], or the inputs that its "
            "input_spec names",
            remedy="Correct the module, or the image size.",
        ) from error
    if not isinstance(answer, torch.Tensor) or not _is_answer(answer):
        shown = f"{answer.dtype} {list(answer.shape)}" if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise ConfigError(
            f"an answer {shown} for one picture",
            expected="logits [1, classes], or [1, classes, rows, columns] for a map: one float tensor",
            remedy="Wrap the module in one whose forward returns the logits alone.",
        )
    return TracedModel(module, TracedConfig(input_shape=input_shape, output_shape=tuple(answer.shape[1:])))


def _is_answer(answer: torch.Tensor) -> bool:
    return answer.ndim in (2, 4) and len(answer) == 1 and answer.is_floating_point()


def _told(error: Exception) -> str:
    """Return the beginning of an error of the user's code."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < 300 else f"{text[:300]} .."
