"""The training loop: resumable, seeded, on whatever devices there are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
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
from mpcvit.train.stored_logits import ReplayedBatches, StoredLogits

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
    stored: StoredLogits | None = None,
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
        objective: gives the loss. Where it is a module, its parameters are trained, too; they go with the run.
        device: ``auto``, or a torch device name.
        workers: processes that load and augment pictures.
        after_epoch: called before the epoch is saved; what it raises ends the run.
        facts: more that a continued run must have in common with the first, as JSON.
        stored: a teacher's answers, which take the place of labels.

    Raises:
        ConfigError: the checkpoint in ``folder`` belongs to another configuration or other facts; weight hooks do not
            fit the model; no parameter is called as ``config.trained`` says; or several processes want stored answers.
        InputError: there are too few pictures.
    """
    with joined(device) as replica:
        run = _prepare(model, config, images, objective, replica, workers, stored)
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
                    progress = {**identity, "epochs_done": epoch + 1}
                    save_checkpoint(folder, model, run.optimizer, progress, average, run.objective)
                recorder.write(epoch, line)
        if run.average is not None:
            model.load_state_dict(run.average.module.state_dict())
        for hook in reversed(config.weight_hooks):
            hook.collapse(model)
        if config.trained:
            model.requires_grad_(True)
        if replica.leads:
            _save(model, folder)
            write_whole(folder / TRAIN_FILE, json.dumps(identity, indent=1) + "\n")
    return model.eval()


class _Loss(nn.Module):
    """The loss as a module: what goes through DistributedDataParallel's forward gets its gradients averaged."""

    def __init__(self, model: nn.Module, objective: Loss, autocast: bool, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.objective = objective  # part of this where it is a module; teachers are none
        self._autocast = autocast
        self._device = device

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self._precision():
            return self.objective(self.model, images, targets)

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the loop needs."""

    config: TrainConfig
    replica: Replica
    model: nn.Module
    objective: nn.Module | None  # if it learns something itself
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    batches: Batches
    mixup: Callable[[torch.Tensor, torch.Tensor], Batch] | None
    average: Any  # timm's ModelEmaV3, or None
    held_out: ImageSet
    stored: StoredLogits | None

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.total_epochs * len(self.batches)


def _prepare(
    model: nn.Module,
    config: TrainConfig,
    images: ImageSet,
    objective: Loss,
    replica: Replica,
    workers: int,
    stored: StoredLogits | None,
) -> _Run:
    device = replica.device
    check_enough(config, images)
    if stored is not None and replica.world > 1:
        raise ConfigError(
            f"{replica.world} processes that learn from stored answers",
            expected="one process, as answers are stored in the order in which one sees the pictures",
            remedy="Start a single process, or choose another objective.",
        )
    rest, held_out = images.split(config.validation, config.seed)
    model.to(device)
    if device.type == "cpu":
        muon_in_float32()
    _freeze(model, config.trained)
    for hook in config.weight_hooks:
        hook.install(model)
    learning = objective.to(device) if isinstance(objective, nn.Module) else None
    optimizer = make_optimizer(model, config, learning)
    batches = make_batches(config, rest, replica, workers)
    autocast = config.precision == FloatFormat.BFLOAT16 or (
        config.precision == FloatFormat.AUTO and _multiplies_bfloat16(device)
    )
    return _Run(
        config=config,
        replica=replica,
        model=model,
        objective=learning,
        loss=replica.wrap(_Loss(model, objective, autocast, device)),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, config, len(batches)),
        batches=batches,
        mixup=make_mixup(config, len(images.classes)),
        average=ModelEmaV3(model, decay=config.ema_decay, use_warmup=True) if config.ema_decay > 0 else None,
        held_out=held_out,
        stored=stored,
    )


def _freeze(model: nn.Module, trained: tuple[str, ...]) -> None:
    """Leave only the parameters to learn whose names match a pattern; all, if there are no patterns.

    Raises:
        ConfigError: a pattern matches no name.
    """
    names = [name for name, _ in model.named_parameters()]
    idle = [pattern for pattern in trained if not any(fnmatchcase(name, pattern) for name in names)]
    if idle:
        raise ConfigError(
            f"no parameter called {', '.join(idle)}",
            expected=f"patterns of names such as {', '.join(names[:3])}, ..., {', '.join(names[-2:])}",
            remedy="Correct 'trained' in the training configuration.",
        )
    if trained:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in trained))


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
    average = None if run.average is None else run.average.module
    load_checkpoint(folder, run.model, run.optimizer, average, run.objective)
    return int(progress["epochs_done"])


def _epoch(run: _Run, epoch: int) -> dict[str, float]:
    """Return one pass over the data, and what the log says of it."""
    start = time.perf_counter()
    config = run.config
    random_seed(config.seed * 1_000_003 + epoch, run.replica.rank)
    run.model.train()
    losses = []
    for step, (images, targets) in enumerate(_batches(run, epoch), start=epoch * len(run.batches)):
        run.schedule.step_update(step)
        losses.append(_update(run, images, targets))
        for hook in config.weight_hooks:
            hook.after_step(run.model, (step + 1) / run.steps)
        if run.average is not None:
            run.average.update(run.model, step=step + 1)
    run.replica.share_statistics(run.model)
    line = {"loss": round(float(run.replica.mean(torch.stack(losses).double().mean())), 4)}
    if len(run.held_out) > 0 and config.objective.trains_the_head:
        judged = run.model if run.average is None else run.average.module
        right = accuracy(judged, run.held_out, data_set(config.data), run.replica.device)
        line["validation"] = round(right, 4)
    line["seconds"] = round(time.perf_counter() - start, 1)
    line["lr"] = run.optimizer.param_groups[0]["lr"]
    return line


def _batches(run: _Run, epoch: int) -> Iterator[Batch]:
    """Yield what is learnt from in an epoch: pictures, and targets for the objective."""
    if run.stored is None:
        for batch in run.batches.epoch(epoch):
            yield _mixed(run, epoch, batch)
        return
    replayed = ReplayedBatches(run.batches.epoch, partial(_mixed, run), run.config.seed)
    yield from run.stored.epoch(epoch, replayed, len(run.held_out.classes))


def _mixed(run: _Run, epoch: int, batch: Batch) -> Batch:
    """Return a batch after mixup, if the run has that, and still in this epoch."""
    if run.mixup is None:
        return batch
    config = run.config
    mixing = config.mixup_epochs is None or epoch < config.mixup_epochs
    run.mixup.mixup_enabled = mixing  # type: ignore[attr-defined]  # timm has no annotations
    return run.mixup(*batch)


def _update(run: _Run, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return one step of the optimiser; the loss before it."""
    loss: torch.Tensor = run.loss(images, targets)
    run.optimizer.zero_grad()
    loss.backward()
    if run.config.sam_rho > 0:
        with ascended(run.loss, run.config.sam_rho):
            run.loss(images, targets).backward()
    if run.config.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(run.loss.parameters(), run.config.clip_norm)
    run.optimizer.step()
    return loss.detach()


def _save(model: nn.Module, folder: Path) -> None:
    if type(model) is VisionTransformer:
        save_model(model, folder)
    else:  # such as a supernet: its configuration alone does not say what the weights are for
        with whole_file(folder / FLOAT_FILE) as partial:
            save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, partial)
