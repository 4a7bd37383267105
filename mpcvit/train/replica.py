"""One process of a training run: alone, or one of several that torchrun started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from mpcvit.compat import prepare_torchvision
from mpcvit.train.device import AUTO, require_device

prepare_torchvision()

from timm.utils import distribute_bn, world_info_from_env  # noqa: E402
from timm.utils.distributed import init_distributed_device_so  # noqa: E402


@dataclass(frozen=True)
class Replica:
    """A process's place in the run.

    Attributes:
        device: where it computes.
        rank: its number, from 0.
        world: number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return the mean of ``value`` over all processes."""
        if self.world > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return ``module``, with gradients averaged over all processes."""
        if self.world == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        # objectives need not reach all parameters: MPCFormer's first stage has no use for the head
        return nn.parallel.DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)

    def share_statistics(self, model: nn.Module) -> None:
        """Average the running statistics of batch norms over all processes."""
        if self.world > 1:
            distribute_bn(model, self.world, reduce=True)


def is_first() -> bool:
    """Return whether this process speaks for all that torchrun started, inside a ``joined`` block or not."""
    _, rank, _ = world_info_from_env()
    return int(rank) == 0


@contextmanager
def joined(device: str) -> Iterator[Replica]:
    """Join the run that torchrun's environment variables describe; without them, run alone.

    Inside another ``joined`` block the same run goes on.

    Args:
        device: ``auto``, or a torch device name; several processes on GPUs take one each.

    Raises:
        ConfigError: there is no such device here.
    """
    require_device(device)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == AUTO else device
    if distributed.is_available() and distributed.is_initialized():
        where = torch.device(name)
        if where.type == "cuda":
            where = torch.device("cuda", torch.cuda.current_device())
        yield Replica(where, distributed.get_rank(), distributed.get_world_size())
        return
    found = init_distributed_device_so(name)
    try:
        yield Replica(torch.device(found["device"]), found["global_rank"], found["world_size"])
    finally:
        if found["distributed"]:
            distributed.destroy_process_group()
