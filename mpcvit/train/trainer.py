"""The training loop: resumable, seeded, on whatever device there is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset

from mpcvit.compat import muon_in_float32, prepare_torchvision
from mpcvit.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import ConfigError
from mpcvit.models import presets  # noqa: F401  # registers the models with timm
from mpcvit.models.files import save_model
from mpcvit.models.vit import VisionTransformer
from mpcvit.train.checkpoint import load_checkpoint, save_checkpoint
from mpcvit.train.recipes import TrainConfig

prepare_torchvision()

from timm import create_model  # noqa: E402
from timm.data import create_transform  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import create_scheduler_v2  # noqa: E402
from timm.utils import random_seed  # noqa: E402  # torch, numpy and Python, which augmentation uses


class _Augmented(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images.images[index])), int(self.images.labels[index])


@torch.inference_mode()
def accuracy(model: torch.nn.Module, images: ImageSet, device: torch.device, batch: int = 500) -> float:
    """Top-1 accuracy in [0, 1]."""
    model.eval()
    hits = 0
    for start in range(0, len(images), batch):
        batch_images = normalise(images.images[start : start + batch], CIFAR10_MEAN, CIFAR10_STD)
        logits = model(batch_images.to(device))
        hits += int((logits.argmax(1).cpu().numpy() == images.labels[start : start + batch]).sum())
    return hits / len(images)


def train(
    config: TrainConfig, images: ImageSet, folder: Path, *, device: str = "auto", workers: int = 1
) -> VisionTransformer:
    """The trained model; also written to ``folder/model.safetensors`` with ``config.json`` and ``train.json``.

    Continues from ``folder/checkpoint.safetensors`` if it exists. Every epoch is seeded by (seed, epoch), so that an
    interrupted run ends like an uninterrupted one on the same machine. ``log.jsonl`` gets one line per epoch.

    Args:
        images: the training set; ``config.validation`` of it is held out.
        device: ``auto``, or a torch device name.
        workers: processes that load and augment.

    Raises:
        ConfigError: the checkpoint in ``folder`` belongs to another configuration.
    """
    target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    random_seed(config.seed)
    rest, held_out = images.split(config.validation, config.seed)
    model: VisionTransformer = create_model(
        config.model, num_classes=len(images.classes), drop_path_rate=config.drop_path
    )
    model.to(target)
    if target.type == "cpu":
        muon_in_float32()
    optimizer = create_optimizer_v2(model, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay)
    loader = _loader(config, rest, workers)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=config.lr / 100,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    identity = {"config": asdict(config), "torch": torch.__version__}
    first = _resume(folder, model, optimizer, identity)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(config.model, total=config.epochs, completed=first)
        for epoch in range(first, config.epochs):
            start = time.perf_counter()
            loss = _epoch(config, epoch, model, optimizer, scheduler, loader, target)
            line = {
                "epoch": epoch,
                "loss": round(loss, 4),
                "validation": round(accuracy(model, held_out, target), 4),
                "seconds": round(time.perf_counter() - start, 1),
            }
            save_checkpoint(folder, model, optimizer, {**identity, "epochs_done": epoch + 1})
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            bar.console.print(line)
            bar.advance(task)
    save_model(model, folder)
    (folder / "train.json").write_text(json.dumps(identity, indent=1) + "\n")
    return model


def _loader(config: TrainConfig, images: ImageSet, workers: int) -> DataLoader[tuple[torch.Tensor, int]]:
    transform = create_transform(
        input_size=images.images.shape[1:3],
        is_training=True,
        scale=(config.crop_scale, 1.0),
        auto_augment=config.auto_augment,
        color_jitter=0.0,
        re_prob=config.erasing,
        re_mode="pixel",
        interpolation="bilinear",
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
    )
    return DataLoader(
        _Augmented(images, transform),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
    )


def _resume(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]) -> int:
    """Number of epochs that a checkpoint in ``folder`` has behind it."""
    progress = load_checkpoint(folder, model, optimizer)
    if progress is None:
        return 0
    if progress["config"] != identity["config"]:
        raise ConfigError(
            f"a checkpoint of another configuration in {folder}",
            expected="the configuration that the run began with",
            remedy="Choose another output folder, or delete this one to start afresh.",
        )
    return int(progress["epochs_done"])


def _epoch(
    config: TrainConfig,
    epoch: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    loader: DataLoader[tuple[torch.Tensor, int]],
    device: torch.device,
) -> float:
    """Mean training loss of one pass over the data."""
    random_seed(config.seed * 1_000_003 + epoch)
    model.train()
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=config.smoothing)
    total = 0.0
    for step, (batch, labels) in enumerate(loader):
        scheduler.step_update(epoch * len(loader) + step)
        loss = criterion(model(batch.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        total += loss.item()
    return total / len(loader)
