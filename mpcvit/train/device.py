"""Where training can compute on this machine."""

from __future__ import annotations

import torch

from mpcvit.errors import ConfigError

AUTO = "auto"


def require_device(name: str) -> None:
    """See that ``name`` is a device that there is: ``auto``, or a torch device such as ``cpu`` or ``cuda:1``.

    Raises:
        ConfigError: there is no such device here; the message says which there are.
    """
    found = _devices()
    if name not in {AUTO, *found, *(device.partition(":")[0] for device in found)}:
        build = f"PyTorch {torch.__version__}, which is built {_built_for()}"
        raise ConfigError(
            f"device '{name}'",
            expected=f"one of {', '.join([AUTO, *found])}: those that {build}, finds on this machine",
            remedy="Choose one of these with --device, or install the PyTorch that is built for the device.",
        )


def _devices() -> list[str]:
    """Return the names of all devices that can be computed on now."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{number}" for number in range(torch.accelerator.device_count()))]


def _built_for() -> str:
    cuda, hip = torch.version.cuda, torch.version.hip
    return f"for CUDA {cuda}" if cuda else f"for ROCm {hip}" if hip else "without CUDA"
