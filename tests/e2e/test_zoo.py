"""The models that ship: complete, small, and as accurate as their cards say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mpcvit import zoo
from mpcvit.check.check import Checker
from mpcvit.check.families import BACKBONES
from mpcvit.check.models import real_model
from mpcvit.client.image import encode_picture
from mpcvit.data.image_set import ImageSet, load_folder
from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.exported import INPUT
from mpcvit.export.normalisation import Normalisation
from mpcvit.measure.accuracy import Executor, evaluate, float_logits, reference_logits
from mpcvit.measure.record import RESULTS_FILE, Measured
from mpcvit.picture.reader import read_picture
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from mpcvit.store.exported import ModelFolder
from mpcvit.store.quantized import QUANTIZED_FOLDER, is_quantized
from mpcvit.wire.ranges import Ranges
from tests.support.fast import replay, run_on_fast

_HALF = "mpcvit_cifar10_half"

#: What pictures like no training picture may change in an answer: fixed point little, 8 bits per weight more.
_ROUNDING, _QUANTIZED_ROUNDING = 0.1, 0.25
#: Pictures that were answered by secure inference.
_SECURE = {zoo.DEFAULT: 500, _HALF: 100}


@pytest.mark.parametrize("name", zoo.names())
def test_models_are_complete_and_small(name: str) -> None:
    """Float weights, Program, integer weights, card and measurements: 8 MB at most, quantizers 4 more."""
    files = {path.name: path.stat().st_size for path in zoo.folder(name).iterdir() if path.is_file()}
    assert set(files) == {
        "card.md",
        "config.json",
        "model.json",
        "model.safetensors",
        "program.json",
        "results.json",
        "weights.safetensors",
    }
    assert sum(files.values()) <= 8_000_000
    if is_quantized(zoo.folder(name)):
        assert sum(path.stat().st_size for path in (zoo.folder(name) / QUANTIZED_FOLDER).iterdir()) <= 4_000_000
    assert stock_cost(ModelFolder.load(zoo.folder(name)).program, 2).wrap_probability < 0.01


@pytest.mark.parametrize("name", zoo.names())
def test_results_are_of_this_program(name: str) -> None:
    """What ``mpcvit zoo list`` says was measured on the Program that ships; rounds and bytes are still those."""
    program = ModelFolder.load(zoo.folder(name)).program
    measured = Measured.load(zoo.folder(name) / RESULTS_FILE)
    assert (measured.model, measured.program) == (name, program.digest)
    pictures = {executor: one["n"] for executor, one in measured.accuracy.items()}
    expected = dict.fromkeys(("float", "reference"), 8000)
    if is_quantized(zoo.folder(name)):
        expected["quantized"] = 8000
    if name in _SECURE:
        expected["secure"] = _SECURE[name]
    assert pictures == expected
    assert set(measured.latency) == {"loopback", "wan"}
    for network, latency in measured.latency.items():
        cost = fast_cost(make_plan(program, OBJECTIVES[network])).total
        assert (latency["rounds"], latency["bytes_sent"]) == (cost.rounds, list(cost.bytes_sent))


@pytest.mark.parametrize("name", zoo.names())
def test_reference_follows_float_on_noise(name: str) -> None:
    """On pictures unlike any training picture the reference still follows the float model."""
    rng = np.random.default_rng(0)
    images = ImageSet(rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), np.zeros(20, np.int64), ("x",))
    difference = reference_logits(zoo.folder(name), images) - float_logits(zoo.folder(name), images)
    assert np.abs(difference).max() < (_QUANTIZED_ROUNDING if is_quantized(zoo.folder(name)) else _ROUNDING)


@pytest.mark.parametrize("name", zoo.names())
def test_hard_pictures_leave_no_range(name: str) -> None:
    """Ranges are proven; ten pictures of every family and some attacks leave none, and come out as in float."""
    folder = zoo.folder(name)
    model = ModelFolder.load(folder)
    assert model.program.ranges is Ranges.PROVEN
    tolerance = _QUANTIZED_ROUNDING if is_quantized(folder) else _ROUNDING
    photographs = read_picture(zoo.PICTURES / "ship.jpg").pixels[None]
    checked = Checker(model, real_model(folder), tolerance).check(10 * len(BACKBONES), 6, photographs, seed=1)
    assert checked.pictures == 10 * len(BACKBONES) + 12
    assert not any(edge.left for edge in checked.edges)
    assert (checked.outside, checked.disagreeing) == ([], 0)
    assert checked.difference < tolerance


@pytest.mark.parametrize("name", zoo.names())
def test_collected_pictures_come_out_as_in_float(name: str) -> None:
    """Stripes, barcodes and the like that wrapped gates once: labels of the float model, logits within 0.1."""
    files = sorted((Path(__file__).resolve().parents[3] / "shared/cases/ranges").glob("*.png"))
    if not files:
        pytest.skip("the collection of hard pictures is not here")
    folder = zoo.folder(name)
    model, real = ModelFolder.load(folder), real_model(folder).double().eval()
    pixels = np.stack([read_picture(file).pixels.transpose(2, 0, 1) for file in files])
    codes = run_reference(model.program, model.weights, {INPUT: pixels.astype(np.int64)})
    logits = decode(codes, model.program.types[model.program.output].frac)
    normalisation = Normalisation(model.description.mean, model.description.std)
    with torch.inference_mode():
        expected = real(normalisation.floats(torch.from_numpy(pixels))).numpy()
    assert (logits.argmax(1) == expected.argmax(1)).all()
    assert np.abs(logits - expected).max() < 0.1


@pytest.mark.parametrize(("name", "rounds"), [(zoo.DEFAULT, 79), (_HALF, 79), ("vit_cifar10_teacher", 127)])
def test_attempts_are_rarely_repeated(name: str, rounds: int) -> None:
    """Proven ranges cost no round on a WAN, and at most one inference in a hundred needs another attempt."""
    cost = fast_cost(make_plan(ModelFolder.load(zoo.folder(name)).program, OBJECTIVES["wan"]))
    assert cost.total.rounds == rounds
    assert cost.repeat_probability <= 0.01


def test_half_the_bytes_of_the_default_model() -> None:
    """Searched, compressed, quantized: at most half of the bytes planned, and as recorded at most 1.5 points less."""
    default, half = (Measured.load(zoo.folder(name) / RESULTS_FILE) for name in (zoo.DEFAULT, _HALF))
    costs = [
        fast_cost(make_plan(ModelFolder.load(zoo.folder(name)).program, OBJECTIVES["wan"])).total
        for name in (zoo.DEFAULT, _HALF)
    ]
    whole, left = (cost.bytes_sent for cost in costs)
    assert all(2 * after <= before for before, after in zip(whole, left, strict=True))
    for executor in (Executor.QUANTIZED, Executor.REFERENCE):
        assert half.accuracy[executor]["top1"] >= default.accuracy[Executor.FLOAT]["top1"] - 0.015


def test_default_model_on_cifar10(cifar10: Path) -> None:
    """On 200 test pictures: at least 75 % right, and the reference agrees with float on all but one."""
    images = load_folder(cifar10 / "test").spread(200)
    result = evaluate(zoo.folder(zoo.DEFAULT), images, Executor.REFERENCE)
    assert result.top1 >= 0.75
    assert result.agreement_with_float >= 0.995
    assert result.max_abs_logit_diff <= 0.05


@pytest.mark.parametrize("name", zoo.names())
def test_fast_engine_equals_the_replayed_reference(name: str) -> None:
    """A whole secure inference of the shipped model, bit for bit, with the dealer's roundings replayed in clear."""
    model = ModelFolder.load(zoo.folder(name))
    image = next(iter(model.program.inputs))
    codes = encode_picture(zoo.PICTURES / "ship.jpg", model.manifest("0" * 32, "0" * 64, ("0" * 64,) * 2))
    run = run_on_fast(model.program, model.weights, {image: codes})
    assert (run.output == replay(run, model.weights, {image: codes})).all()
    trace = run.traces[0]
    if not run.repeated:
        assert trace.total().bytes_sent - trace.total("weights").bytes_sent == sum(run.plan.messages)
        assert trace.total().rounds - trace.total("weights").rounds == len(run.plan.messages)
