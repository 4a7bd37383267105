"""Programs read pixels: the normalisation is in the first layer, borders included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpcvit.errors import InputError, ModelFileError
from mpcvit.export.builder import Precision
from mpcvit.export.efficientformer import export_efficientformer
from mpcvit.export.normalisation import NOISE, Normalisation
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.ops import Sum, TensorType
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.ring.qtype import PIXEL, QType
from mpcvit.store.exported import Description, ModelFolder
from tests.support.efficientformers import SMALL, make_efficientformer
from tests.support.images import make_images
from tests.support.models import TINY, make_model
from tests.support.secure import one_op

#: Every channel has its own.
UNEVEN = Normalisation((0.2, 0.5, 0.8), (0.5, 0.25, 0.7))


def pictures(side: int, count: int = 16) -> torch.Tensor:
    """Random 8-bit pixels, float64 [count, 3, side, side]."""
    torch.manual_seed(3)
    return torch.randint(0, 256, (count, 3, side, side)).double()


@pytest.mark.parametrize("normalisation", [NOISE, UNEVEN])
def test_pixels_and_floats_are_inverse(normalisation: Normalisation) -> None:
    """All 256 pixels come back from their float32 values."""
    pixels = torch.arange(256, dtype=torch.float64).repeat(3, 1)[:, :, None]
    assert torch.equal(normalisation.pixels(normalisation.floats(pixels).float()), pixels)


def test_values_between_pixels_become_the_nearest() -> None:
    """Up to half a step beyond black and white, too; more is refused."""
    grey = torch.tensor([-0.4, 0.4, 99.7, 255.4]).reshape(1, 1, 4)
    assert NOISE.pixels(NOISE.floats(grey)).flatten().tolist() == [0, 0, 100, 255]
    for wrong in (-0.6, 255.6, float("1e30")):
        with pytest.raises(InputError, match="1 of 1 values that no 8-bit pixel gives"):
            NOISE.pixels(NOISE.floats(torch.tensor([[[wrong]]])))


@pytest.mark.parametrize("class_token", [False, True])
def test_a_vit_of_pixels_is_the_model(class_token: bool) -> None:
    """Its Program gives the model's logits of normalised pictures, whatever each channel's mean and std are."""
    model = make_model(replace(TINY, class_token=class_token))
    pixels = pictures(TINY.image_size)
    images = UNEVEN.floats(pixels).float()
    exported = export_vit(model, images, normalisation=UNEVEN)
    assert exported.fidelity < 1e-9
    assert_close(exported, model, pixels, images)


def test_an_efficientformer_of_pixels_is_the_model() -> None:
    """Zeros around a normalised picture are no pixels: the first convolution's bias is a map of the border, too."""
    model = make_efficientformer()
    pixels = pictures(SMALL.image_size)
    images = UNEVEN.floats(pixels).float()
    exported = export_efficientformer(model, images, Precision(calibrated=True), normalisation=UNEVEN)
    assert exported.fidelity < 1e-9
    assert_close(exported, model, pixels, images)
    (bias,) = (kind for name, kind in exported.program.parameters.items() if name == "stem1.bias")
    assert bias.shape == (SMALL.image_size // 2, SMALL.image_size // 2, SMALL.widths[0] // 2)


def assert_close(exported: Exported, model: torch.nn.Module, pixels: torch.Tensor, images: torch.Tensor) -> None:
    """The reference's logits are the model's, but for rounding."""
    program = exported.program
    assert dict(program.inputs)["image"].qtype == PIXEL
    codes = run_reference(program, exported.weights, {"image": pixels.long().numpy()})
    with torch.no_grad():
        plain = model(images).numpy()
    assert np.abs(decode(codes, program.types[program.output].frac) - plain).max() < 0.05


def test_pictures_of_another_normalisation_are_refused(tiny_model: VisionTransformer) -> None:
    """Calibration on values that no pixel gives is an error, not a guess."""
    with pytest.raises(InputError, match="normalised with mean"):
        export_vit(tiny_model, make_images(TINY, 8), normalisation=Normalisation((0.5,), (0.5,)))


def test_programs_of_normalised_values_are_refused() -> None:
    """Folders of versions whose Programs read normalised values say what to do."""
    old = one_op(Sum(-1), TensorType((3, 8, 8), QType(frac=12, lo=-4, hi=4)))
    half = (0.5, 0.5, 0.5)
    description = Description(name="old", version="1", labels=("a", "b", "c"), mean=half, std=half)
    with pytest.raises(ModelFileError, match="Export the model again"):
        ModelFolder(description, old, {})
