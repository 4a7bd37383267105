"""Plain modules of single systems: traced, proven, and on shares bit for bit what the reference computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torch import nn

from mpcvit.export.exported import INPUT
from mpcvit.export.proof import Proof
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode
from tests.support.fast import assert_cost, replay, run_on_fast
from tests.support.plain_modules import (
    CASES,
    MAP,
    PlainCase,
    as_floats,
    export_case,
    facts_of,
    inputs,
    live,
    one_by_one,
)


def _reads(module: nn.Module, spec: InputSpec) -> nn.Module:
    module.input_spec, module.mean, module.std = spec, (0.4,) * spec.channels, (0.25,) * spec.channels
    return module


def _linear(spec: InputSpec) -> nn.Module:
    return _reads(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(spec.shape), 3)), spec)


#: Single layers, of every kind of input, and a map.
LAYERS = {
    "map": PlainCase(lambda: _reads(nn.Conv2d(3, 3, 4, 4), InputSpec(shape=(3, 8, 12))), MAP),
    "gray": PlainCase(lambda: _linear(InputSpec(shape=(1, 4, 6)))),
    "clip": PlainCase(lambda: _linear(InputSpec(kind=InputKind.CLIP, shape=(2, 3, 4, 4)))),
    "deep volume": PlainCase(lambda: _linear(InputSpec(kind=InputKind.VOLUME, shape=(3, 4, 4), bits=16))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_traced_modules_read_any_input(name: str) -> None:
    """Normalised channel by channel, whichever axes there are."""
    _compare(LAYERS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_plain_module_answers_on_shares(name: str) -> None:
    """Exact in real arithmetic; on integers near the module, or the same labels; on shares the same to the bit."""
    _compare(CASES[name])


def _compare(case: PlainCase) -> None:
    module = live(case)
    found = export_case(case, module)
    program, facts = found.program, facts_of(module)
    assert found.fidelity < 1e-6
    assert (Proof.of(program).calibrated == 0) == case.proven
    codes = inputs(facts, 6)
    answers = run_reference(program, found.weights, {INPUT: codes})
    real = np.stack([answer.numpy() for answer in one_by_one(module, as_floats(facts, codes))])
    if case.reveal is MAP:
        classes, places = real.shape[1], real[0, 0].size
        expected = real.argmax(1).reshape(len(real), places) + classes * np.arange(places)
        assert (answers[:, :-1] == expected).mean() > 0.95
        assert len(np.unique(answers[:, :-1] % classes)) > 1
    else:
        assert np.abs(decode(answers, program.types[program.output].frac) - real).max() < 0.05
        assert real.std(0).max() > 0.01
    run = run_on_fast(program, found.weights, {INPUT: codes[1]})
    assert run.output.tolist() == replay(run, found.weights, {INPUT: codes[1]}).tolist()
    assert_cost(run)
