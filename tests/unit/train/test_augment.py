"""Augmentation of whole batches against torchvision's of single pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpcvit.compat import prepare_torchvision
from mpcvit.data.image_set import ImageSet
from mpcvit.train.batches import make_batches
from mpcvit.train.config import Pipeline, TrainConfig
from mpcvit.train.replica import Replica
from mpcvit.train.tensor_augment import TensorAugment, crop_boxes, resized_crops

prepare_torchvision()

from torchvision.transforms import RandomResizedCrop  # noqa: E402
from torchvision.transforms.functional import hflip, resized_crop  # noqa: E402

CPU = torch.device("cpu")


def test_crops_are_torchvisions() -> None:
    """The same boxes give the same pixels, mirrored or not."""
    torch.manual_seed(0)
    images = torch.rand(50, 3, 32, 32)
    boxes = crop_boxes(50, 32, 0.08, CPU)
    flips = torch.arange(50) % 2 == 1
    got = resized_crops(images, boxes, flips)
    for number, (left, top, width, height) in enumerate(boxes.int().tolist()):
        expected = resized_crop(images[number], top, left, height, width, [32, 32], antialias=False)
        if flips[number]:
            expected = hflip(expected)
        assert torch.allclose(got[number], expected, atol=1e-5), number


def test_boxes_are_distributed_like_torchvisions() -> None:
    """Mean and spread of left, top, width and height agree within a few standard errors, and no box leaves."""
    torch.manual_seed(0)
    count = 4000
    boxes = crop_boxes(count, 32, 0.3, CPU)
    picture = torch.zeros(3, 32, 32)
    theirs = torch.tensor([RandomResizedCrop.get_params(picture, [0.3, 1.0], [3 / 4, 4 / 3]) for _ in range(count)])
    expected = theirs[:, [1, 0, 3, 2]].float()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 32).all()
    assert (boxes.mean(0) - expected.mean(0)).abs().max() < 0.6  # standard errors are at most 0.12
    assert (boxes.std(0) - expected.std(0)).abs().max() < 0.6


def test_whole_pictures_are_only_normalised_and_mirrored() -> None:
    """At scale 1 every picture is (pixel / 255 - mean) / std, as it is or mirrored, and both occur."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    got = TensorAugment(mean, std, crop_scale=1.0, erasing=0.0, device=CPU)(pixels)
    plain = (pixels.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    same = (got - plain).abs().amax(dim=(1, 2, 3)) < 1e-4
    mirrored = (got - plain.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert bool((same ^ mirrored).all())
    assert 16 < int(same.sum()) < 48


def test_erasing_puts_noise_into_rectangles() -> None:
    """With probability 1 each grey picture loses 2 % to a third of its pixels."""
    torch.manual_seed(0)
    pixels = torch.full((16, 3, 32, 32), 128, dtype=torch.uint8)
    got = TensorAugment((0.5,) * 3, (0.5,) * 3, crop_scale=1.0, erasing=1.0, device=CPU)(pixels)
    shares = ((got - got.median()).abs() > 1e-3).any(dim=1).float().mean(dim=(1, 2))
    assert (shares > 0.01).all()
    assert (shares < 0.4).all()


@pytest.mark.parametrize("pipeline", Pipeline)
@pytest.mark.parametrize("world", [1, 2])
def test_an_epoch_shows_every_picture_once(pipeline: Pipeline, world: int) -> None:
    """Over all processes, each epoch in another order."""
    labels = np.arange(24, dtype=np.int64)
    images = ImageSet(np.zeros((24, 8, 8, 3), dtype=np.uint8), labels, tuple(map(str, labels)))
    config = TrainConfig(model="tiny", epochs=2, batch_size=8, pipeline=pipeline)
    parts = [make_batches(config, images, Replica(CPU, rank, world), 0) for rank in range(world)]
    orders = []
    for epoch in range(2):
        batches = [batch for part in parts for batch in part.epoch(epoch)]
        assert [len(part) for part in parts] == [3] * world
        assert {tuple(pictures.shape) for pictures, _ in batches} == {(8 // world, 3, 8, 8)}
        assert {pictures.dtype for pictures, _ in batches} == {torch.float32}
        orders.append([int(label) for _, targets in batches for label in targets])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(24))
    assert orders[0] != orders[1]
