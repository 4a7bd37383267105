"""Model and optimiser state as safetensors: no pickle, so no ``torch.save``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

_FILE = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write ``folder/checkpoint.safetensors``, atomically; ``progress`` is kept as JSON."""
    state = optimizer.state_dict()
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    document = {"progress": progress, "groups": state["param_groups"], "scalars": scalars}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (_FILE + ".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"state": json.dumps(document)})
    partial.replace(folder / _FILE)


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restore ``model`` and ``optimizer``; the saved progress, or None if there is no checkpoint."""
    path = folder / _FILE
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    model.load_state_dict(
        {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}
    )
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in document["scalars"].items()}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": document["groups"]})
    progress: dict[str, Any] = document["progress"]
    return progress
