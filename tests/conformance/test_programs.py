"""Whole models: float, reference and stock shares; cost; what the wire shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.setup_round import SETUP_TAG
from mpcvit.export.vit import INPUT, Exported, export_vit
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from tests.support.columns import configured
from tests.support.images import make_images, pixel_codes
from tests.support.links import RecordingLink
from tests.support.models import TINY, make_model
from tests.support.secure import run_secure

KINDS = [*AttentionKind]


def _config(kind: AttentionKind, activation: Activation, tokens_per_side: int = 2) -> ViTConfig:
    return configured(
        image_size=4 * tokens_per_side,
        patch_size=4,
        classes=3,
        dim=12,
        hidden=16,
        heads=((kind, AttentionKind.SCALING, kind),),
        activation=(activation,),
        linformer_rank=5,
        pooled_side=1,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "activation"),
    [*((kind, Activation.RELU) for kind in KINDS), *((AttentionKind.SCALING, a) for a in Activation)],
)
def test_every_kind_on_shares_is_close_to_float(kind: AttentionKind, activation: Activation) -> None:
    """Float, reference and stock shares agree for every attention kind and activation, also with odd token counts."""
    config = _config(kind, activation, tokens_per_side=3)
    # scores are squared and cubed: larger weights would give a residual stream of too many magnitudes
    model, images = make_model(config, gain=1.5), make_images(config, 48)
    exported = export_vit(model, images)
    assert exported.fidelity < 1e-9
    codes = pixel_codes(images[:4])
    frac = exported.program.types[exported.program.output].frac
    reference = decode(run_reference(exported.program, exported.weights, {INPUT: codes}), frac)
    with torch.inference_mode():
        plain = model(images[:4]).numpy()
    assert np.abs(reference - plain).max() < 0.02
    secure = decode(run_secure(exported.program, exported.weights, {INPUT: codes[0]}).output, frac)
    assert np.abs(secure - reference[0]).max() < 0.02


@pytest.mark.parametrize("parties", [2, 3])
def test_program_cost_is_exact_per_node(tiny_exported: Exported, parties: int) -> None:
    """Counted rounds and bytes equal ``stock_cost`` node by node and in total."""
    codes = _codes(tiny_exported)
    declared = stock_cost(tiny_exported.program, parties)
    traces = run_secure(tiny_exported.program, tiny_exported.weights, {INPUT: codes}, parties).traces
    for party, trace in enumerate(traces):
        for name, cost in declared.nodes.items():
            # a node's tags are its name, or begin with its name and a slash
            measured = [count for tag, count in trace.counts.items() if tag == name or tag.startswith(name + "/")]
            assert sum(count.rounds for count in measured) == cost.rounds, name
            assert sum(count.bytes_sent for count in measured) == cost.bytes_sent[party], name
        assert trace.total().rounds == declared.total.rounds
        assert trace.total().bytes_sent == declared.total.bytes_sent[party]


def test_all_parties_tag_alike(tiny_exported: Exported) -> None:
    """Traces of all parties have the same tags with the same rounds, in the same order."""
    first, second = run_secure(tiny_exported.program, tiny_exported.weights, {INPUT: _codes(tiny_exported)}).traces
    assert [(tag, count.rounds) for tag, count in first.counts.items()] == [
        (tag, count.rounds) for tag, count in second.counts.items()
    ]


def test_no_secret_travels_in_clear(tiny_exported: Exported) -> None:
    """No pixel, weight or logit, nor a share of one, appears in what any party sends; the bytes look uniform."""
    codes, said = _codes(tiny_exported), []
    output = run_secure(
        tiny_exported.program,
        tiny_exported.weights,
        {INPUT: codes},
        wrap_link=lambda link: RecordingLink(link, said, SETUP_TAG),
    ).output
    words = [np.frombuffer(payload, dtype="<i8") for payload in said]
    bits = [message for message in words if np.isin(message, (0, 1)).all()]
    masked = np.concatenate([message for message in words if not np.isin(message, (0, 1)).all()])
    secrets = np.concatenate([codes.ravel(), output, *(w.ravel() for w in tiny_exported.weights.values())])
    assert not np.intersect1d(masked, secrets[np.abs(secrets) > 1]).size
    assert _chi_square(masked.tobytes()) < 400  # 255 degrees of freedom: mean 255, sd 22.6
    ones = np.concatenate(bits)  # XOR-masked sign bits, a word each on CrypTen's protocols
    assert abs(ones.mean() - 0.5) < 5 * 0.5 / np.sqrt(ones.size)


def test_two_runs_share_no_message(tiny_exported: Exported) -> None:
    """The same input twice under fresh seeds gives traffic without a common message."""
    codes = _codes(tiny_exported)
    runs: list[list[bytes]] = [[], []]
    for number, said in enumerate(runs):
        run_secure(
            tiny_exported.program,
            tiny_exported.weights,
            {INPUT: codes},
            number=number + 1,
            wrap_link=lambda link, said=said: RecordingLink(link, said, SETUP_TAG),  # type: ignore[misc]
        )
    assert len(runs[0]) == len(runs[1]) > 50
    assert not set(runs[0]) & set(runs[1])


@pytest.mark.slow
def test_no_silent_wrap_in_200_runs_of_a_block(tiny_exported: Exported) -> None:
    """200 secure runs of one block stay close to the reference: no truncation wrapped."""
    frac = tiny_exported.program.types[tiny_exported.program.output].frac
    images = make_images(TINY, 200, seed=3)
    codes = pixel_codes(images)
    expected = decode(run_reference(tiny_exported.program, tiny_exported.weights, {INPUT: codes}), frac)
    worst = 0.0
    for number in range(200):
        run = run_secure(tiny_exported.program, tiny_exported.weights, {INPUT: codes[number]}, number=number + 1)
        worst = max(worst, float(np.abs(decode(run.output, frac) - expected[number]).max()))
    assert worst < 0.05


def test_wrap_probability_is_small_and_stated(tiny_exported: Exported) -> None:
    """The bound on a silent wrap is positive (stock has one) and below one in a thousand images."""
    assert 0 < stock_cost(tiny_exported.program, 2).wrap_probability < 1e-3


def _codes(exported: Exported) -> np.ndarray:
    return pixel_codes(make_images(TINY, 1, seed=9)[0])


def _chi_square(traffic: bytes) -> float:
    counts = np.bincount(np.frombuffer(traffic, dtype=np.uint8), minlength=256)
    expected = len(traffic) / 256
    return float(((counts - expected) ** 2 / expected).sum())
