"""Model and optimiser state as safetensors: no pickle, so no ``torch.save``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mpcvit.errors import ConfigError
from mpcvit.store.trained import FLOAT_FILE, TRAIN_FILE
from mpcvit.store.whole_file import whole_file

CHECKPOINT_FILE = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    average: torch.nn.Module | None = None,
    objective: torch.nn.Module | None = None,
) -> None:
    """Write ``folder/checkpoint.safetensors``, atomically; ``progress`` is kept as JSON.

    Args:
        average: the model with averaged weights, if the run has one.
        objective: the objective, if it learns something itself.
    """
    state = optimizer.state_dict()
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in average.state_dict().items()}
    if objective is not None:
        tensors |= {f"objective/{name}": tensor for name, tensor in objective.state_dict().items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    document = {"progress": progress, "groups": state["param_groups"], "scalars": scalars}
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with whole_file(folder / CHECKPOINT_FILE) as partial:
        save_file(whole, partial, {"state": json.dumps(document)})


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return the progress saved in ``folder``, or None if there is no checkpoint."""
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        progress: dict[str, Any] = json.loads(file.metadata()["state"])["progress"]
    return progress


def load_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: torch.nn.Module | None = None,
    objective: torch.nn.Module | None = None,
) -> None:
    """Restore what :func:`save_checkpoint` wrote."""
    with safe_open(folder / CHECKPOINT_FILE, framework="pt") as file:
        document = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    model.load_state_dict(_under("model/", tensors))
    if average is not None:
        average.load_state_dict(_under("average/", tensors))
    if objective is not None:
        objective.load_state_dict(_under("objective/", tensors))
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in document["scalars"].items()}
    for name, tensor in _under("optimizer/", tensors).items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": document["groups"]})


def check_own(folder: Path) -> None:
    """See that a model in ``folder`` is one of an earlier run, which may be continued.

    Raises:
        ConfigError: it is not.
    """
    if (folder / FLOAT_FILE).exists() and not any((folder / name).exists() for name in (CHECKPOINT_FILE, TRAIN_FILE)):
        raise ConfigError(
            f"--out {folder}, which holds another model's {FLOAT_FILE}",
            expected="a new folder, or one of an earlier run, with its checkpoint",
            remedy="Choose another folder with --out.",
        )


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
