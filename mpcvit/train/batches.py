"""Augmented batches of a training set, on the training device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, RandomSampler, TensorDataset

from mpcvit.compat import prepare_torchvision
from mpcvit.data.catalogue import data_set
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError, InputError
from mpcvit.train.config import Pipeline, TrainConfig
from mpcvit.train.replica import Replica
from mpcvit.train.tensor_augment import TensorAugment

prepare_torchvision()

from timm.data import Mixup, create_transform  # noqa: E402

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches(Protocol):
    """One process's share of the batches of each epoch."""

    def __len__(self) -> int:
        """Return the batches per epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Return normalised float32 pictures [batch, channels, height, width] and int64 labels [batch]."""


def check_enough(config: TrainConfig, images: ImageSet) -> None:
    """Refuse a training set too small for ``config``.

    Raises:
        InputError: fewer pictures than are held out and fill one batch.
    """
    needed = config.validation + config.batch_size
    if len(images) < needed:
        raise InputError(
            f"{len(images):,} training pictures",
            expected=f"at least {needed:,}: {config.validation:,} that are held out, and a batch of "
            f"{config.batch_size:,}",
            remedy="Point --data at more pictures, or choose a recipe that holds out fewer or has smaller batches.",
        )


def make_batches(config: TrainConfig, images: ImageSet, replica: Replica, workers: int) -> Batches:
    """Return the batches of ``config``: ``config.batch_size`` pictures over all processes.

    Raises:
        ConfigError: the batch size does not fit the processes or the set.
    """
    share = config.batch_size // replica.world
    uneven = config.mixes and share % 2 == 1
    if share * replica.world != config.batch_size or uneven or len(images) < config.batch_size:
        raise ConfigError(
            f"batches of {config.batch_size} out of {len(images)} pictures for {replica.world} processes",
            expected="full batches that divide evenly" + (" into even parts, for mixup" if config.mixes else ""),
            remedy="Correct the batch size or the number of processes.",
        )
    if config.pipeline == Pipeline.TENSORS:
        return _TensorBatches(config, images, replica, share)
    return _PictureBatches(config, images, replica, share, workers)


def make_mixup(config: TrainConfig, classes: int) -> Callable[[torch.Tensor, torch.Tensor], Batch] | None:
    """Return timm's Mixup, which makes soft targets float32 [batch, classes]; None if ``config`` has none."""
    if not config.mixes:
        return None
    mixup: Callable[[torch.Tensor, torch.Tensor], Batch] = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        label_smoothing=config.smoothing,
        num_classes=classes,
    )
    return mixup


class _Augmented(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images.images[index])), int(self.images.labels[index])


class _PictureBatches:
    """timm's transforms in worker processes."""

    def __init__(self, config: TrainConfig, images: ImageSet, replica: Replica, share: int, workers: int) -> None:
        data = data_set(config.data)
        transform = create_transform(
            input_size=images.images.shape[1:3],
            is_training=True,
            scale=(config.crop_scale, 1.0),
            auto_augment=config.auto_augment,
            color_jitter=0.0,
            re_prob=config.erasing,
            re_mode="pixel",
            interpolation="bilinear",
            mean=data.mean,
            std=data.std,
        )
        pictures = _Augmented(images, transform)
        self.device = replica.device
        self.sampler = _distributed_sampler(pictures, config, replica)
        self.loader = DataLoader(
            pictures,
            batch_size=share,
            shuffle=self.sampler is None,
            sampler=self.sampler,
            drop_last=True,
            num_workers=workers,
            pin_memory=replica.device.type == "cuda",
        )

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int) -> Iterator[Batch]:
        if self.sampler is not None:
            self.sampler.set_epoch(number)
        for images, labels in self.loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


class _TensorBatches:
    """The whole set as one tensor on the training device, augmented there batch by batch."""

    def __init__(self, config: TrainConfig, images: ImageSet, replica: Replica, share: int) -> None:
        data = data_set(config.data)
        self.device = replica.device
        self.pixels = torch.from_numpy(images.images).permute(0, 3, 1, 2).contiguous().to(self.device)
        self.labels = torch.from_numpy(images.labels).to(self.device)
        self.augment = TensorAugment(
            data.mean, data.std, crop_scale=config.crop_scale, erasing=config.erasing, device=self.device
        )
        everything = TensorDataset(self.labels)
        self.sampler = _distributed_sampler(everything, config, replica)
        self.order = BatchSampler(
            RandomSampler(everything) if self.sampler is None else self.sampler, share, drop_last=True
        )

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int) -> Iterator[Batch]:
        if self.sampler is not None:
            self.sampler.set_epoch(number)
        for numbers in self.order:
            chosen = torch.tensor(numbers, device=self.device)
            yield self.augment(self.pixels[chosen]), self.labels[chosen]


def _distributed_sampler(source: Dataset[Any], config: TrainConfig, replica: Replica) -> DistributedSampler[Any] | None:
    """Return this process's share of a random order; None if it is the only process."""
    if replica.world == 1:
        return None
    return DistributedSampler(
        source, num_replicas=replica.world, rank=replica.rank, seed=config.seed, shuffle=True, drop_last=True
    )
