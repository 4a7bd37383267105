"""The training loop: resumable, seeded, on whatever devices there are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mpcvit.compat import muon_in_float32, prepare_torchvision
from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import FLOAT_FILE, TRAIN_FILE, save_model
from mpcvit.store.whole_file import whole_file, write_whole
from mpcvit.train.accuracy import accuracy
from mpcvit.train.batches import Batch, Batches, check_enough, make_batches, make_mixup
from mpcvit.train.checkpoint import load_checkpoint, read_progress, save_checkpoint
from mpcvit.train.config import FloatFormat, TrainConfig
from mpcvit.train.objectives.objective import Loss
from mpcvit.train.optimizer import make_optimizer, make_schedule
from mpcvit.train.recorder import Recorder
from mpcvit.train.replica import Replica, joined
from mpcvit.train.sam import ascended

prepare_torchvision()

from timm.utils import ModelEmaV3, random_seed  # noqa: E402  # seeds torch, numpy and Python, which augmentation uses

#: (epochs done, model, the epoch's line in the log); may change the model, and is called in every process.
AfterEpoch = Callable[[int, nn.Module, Mapping[str, float]], None]


def fit(
    model: nn.Module,
    config: TrainConfig,
    images: ImageSet,
    folder: Path,
    *,
    objective: Loss,
    device: str = "auto",
    workers: int = 1,
    after_epoch: AfterEpoch | None = None,
    facts: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return ``model``, trained in place and in eval mode.

    With averaging, the averaged weights are put into it at the end.

    ``folder`` gets ``model.safetensors`` (and ``config.json`` for a plain ``VisionTransformer``), ``train.json``,
    ``checkpoint.safetensors``, ``log.jsonl`` with one line per epoch, and the same numbers for TensorBoard where that
    is installed.

    Continues from ``folder/checkpoint.safetensors`` if it exists. Every epoch is seeded by (seed, epoch), so that an
    interrupted run ends like an uninterrupted one on the same machine with the same number of workers. The first
    weights are the caller's.

    Started by torchrun, several processes share each batch; the first one writes.

    Args:
        images: the training set; ``config.validation`` of it is held out.
        objective: gives the loss. Parameters of its own are not trained.
        device: ``auto``, or a torch device name.
        workers: processes that load and augment pictures.
        after_epoch: called before the epoch is saved; what it raises ends the run.
        facts: more that a continued run must have in common with the first, as JSON.

    Raises:
        ConfigError: the checkpoint in ``folder`` belongs to another configuration or other facts.
        InputError: there are too few pictures.
    """
    with joined(device) as replica:
        run = _prepare(model, config, images, objective, replica, workers)
        identity: dict[str, Any] = {"config": to_document(config), "torch": torch.__version__}
        if facts:
            identity["facts"] = dict(facts)
        first = _resume(folder, run, identity)
        with Recorder(folder, config.model, first, config.total_epochs, active=replica.leads) as recorder:
            for epoch in range(first, config.total_epochs):
                line = _epoch(run, epoch)
                if after_epoch is not None:
                    after_epoch(epoch + 1, model, line)
                if replica.leads:
                    average = None if run.average is None else run.average.module
                    save_checkpoint(folder, model, run.optimizer, {**identity, "epochs_done": epoch + 1}, average)
                recorder.write(epoch, line)
        if run.average is not None:
            model.load_state_dict(run.average.module.state_dict())
        if replica.leads:
            _save(model, folder)
            write_whole(folder / TRAIN_FILE, json.dumps(identity, indent=1) + "\n")
    return model.eval()


class _Loss(nn.Module):
    """The loss as a module: what goes through DistributedDataParallel's forward gets its gradients averaged."""

    def __init__(self, model: nn.Module, objective: Loss, autocast: bool, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self._objective = (objective,)  # in a tuple, so that a teacher that is a module does not become part of this
        self._autocast = autocast
        self._device = device

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self._precision():
            return self._objective[0](self.model, images, targets)

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the loop needs."""

    config: TrainConfig
    replica: Replica
    model: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    batches: Batches
    mixup: Callable[[torch.Tensor, torch.Tensor], Batch] | None
    average: Any  # timm's ModelEmaV3, or None
    held_out: ImageSet


def _prepare(
    model: nn.Module, config: TrainConfig, images: ImageSet, objective: Loss, replica: Replica, workers: int
) -> _Run:
    device = replica.device
    check_enough(config, images)
    rest, held_out = images.split(config.validation, config.seed)
    model.to(device)
    if device.type == "cpu":
        muon_in_float32()
    optimizer = make_optimizer(model, config)
    batches = make_batches(config, rest, replica, workers)
    autocast = config.precision == FloatFormat.BFLOAT16 or (
        config.precision == FloatFormat.AUTO and _multiplies_bfloat16(device)
    )
    return _Run(
        config=config,
        replica=replica,
        model=model,
        loss=replica.wrap(_Loss(model, objective, autocast, device)),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, config, len(batches)),
        batches=batches,
        mixup=make_mixup(config, len(images.classes)),
        average=ModelEmaV3(model, decay=config.ema_decay, use_warmup=True) if config.ema_decay > 0 else None,
        held_out=held_out,
    )


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether ``device`` has units for products of bfloat16: with them, training is more than twice as fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _resume(folder: Path, run: _Run, identity: Mapping[str, Any]) -> int:
    """Return the number of epochs that a checkpoint in ``folder`` has behind it; restores the run from it."""
    progress = read_progress(folder)
    if progress is None:
        return 0
    same = from_document(TrainConfig, progress["config"]) == run.config
    if not same or progress.get("facts") != identity.get("facts"):
        raise ConfigError(
            f"a checkpoint of another configuration in {folder}",
            expected="the configuration, and the teacher, that the run began with",
            remedy="Choose another output folder, or delete this one to start afresh.",
        )
    load_checkpoint(folder, run.model, run.optimizer, None if run.average is None else run.average.module)
    return int(progress["epochs_done"])


def _epoch(run: _Run, epoch: int) -> dict[str, float]:
    """Return one pass over the data, and what the log says of it."""
    start = time.perf_counter()
    config = run.config
    random_seed(config.seed * 1_000_003 + epoch, run.replica.rank)
    run.model.train()
    mixing = config.mixup_epochs is None or epoch < config.mixup_epochs
    losses = []
    for step, (images, targets) in enumerate(run.batches.epoch(epoch), start=epoch * len(run.batches)):
        if run.mixup is not None:
            run.mixup.mixup_enabled = mixing  # type: ignore[attr-defined]  # timm has no annotations
            images, targets = run.mixup(images, targets)
        run.schedule.step_update(step)
        losses.append(_update(run, images, targets))
        if run.average is not None:
            run.average.update(run.model, step=step + 1)
    run.replica.share_statistics(run.model)
    line = {"loss": round(float(run.replica.mean(torch.stack(losses).double().mean())), 4)}
    if len(run.held_out) > 0:
        judged = run.model if run.average is None else run.average.module
        right = accuracy(judged, run.held_out, data_set(config.data), run.replica.device)
        line["validation"] = round(right, 4)
    line["seconds"] = round(time.perf_counter() - start, 1)
    line["lr"] = run.optimizer.param_groups[0]["lr"]
    return line


def _update(run: _Run, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return one step of the optimiser; the loss before it."""
    loss: torch.Tensor = run.loss(images, targets)
    run.optimizer.zero_grad()
    loss.backward()
    if run.config.sam_rho > 0:
        with ascended(run.model, run.config.sam_rho):
            run.loss(images, targets).backward()
    if run.config.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
    run.optimizer.step()
    return loss.detach()


def _save(model: nn.Module, folder: Path) -> None:
    if type(model) is VisionTransformer:
        save_model(model, folder)
    else:  # such as a supernet: its configuration alone does not say what the weights are for
        with whole_file(folder / FLOAT_FILE) as partial:
            save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, partial)
