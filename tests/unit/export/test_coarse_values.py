"""Values that may be coarse: fewer fractional bits, and gates that are only as exact as that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.activation.gelu import lower_gelu
from mpcvit.export.builder import Builder, Precision
from mpcvit.export.vit import export_vit
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.ring.fixed_point import decode, encode
from mpcvit.ring.qtype import QType
from tests.support.images import make_images
from tests.support.models import TINY


def activation(kind: str, step: float | None) -> tuple[Program, float]:
    """A Program of one activation whose result may be coarse; the reference's largest error between -6 and 6."""
    b = Builder(Precision(steps=() if step is None else (("act", step), ("fc1", step / 2))))
    real = torch.linspace(-6, 6, 1024, dtype=torch.float64)[None]
    wide = b.scale("wide", b.input("x", real, QType(frac=12, lo=-8, hi=8)), 1.0, 12)
    x = b.rescale("fc1", wide)
    y = lower_gelu(b, "act", x) if kind == "gelu" else b.relu("act", x)
    program = b.program(y)
    codes = run_reference(program, {}, {"x": encode(real.numpy(), program.inputs["x"].qtype)})
    got = decode(codes, program.types[program.output].frac)
    return program, float(np.abs(got - y.real.numpy()).max())


def material(program: Program) -> int:
    """Bytes that the dealer sends to both parties."""
    return sum(fast_cost(make_plan(program, objective("loopback"))).total.material_bytes)


@pytest.mark.parametrize("kind", ["gelu", "relu"])
def test_a_coarse_activation_is_cheaper_and_within_its_step(kind: str) -> None:
    """The coarser a result may be, the less material it takes; its error stays near the step.

    Half a step for the gate, half for rounding its result, a quarter times the largest slope for rounding its input.
    """
    before, _ = activation(kind, None)
    costs = [material(before)]
    for step in (2.0**-6, 2.0**-4, 2.0**-2):
        program, error = activation(kind, step)
        assert error <= step * (0.5 + 0.5 + 1.13 / 4)
        costs.append(material(program))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.8 * costs[0]


def test_a_coarse_value_has_so_few_fractional_bits() -> None:
    """As many bits as the step needs, rounded up, and never more than ordinary values have."""
    b = Builder(Precision(frac=12, steps=(("a", 0.3), ("b", 2.0**-5), ("c", 2.0**-20), ("d", 4.0))))
    assert [b.frac(name) for name in "abcde"] == [2, 5, 12, 0, 12]


def test_a_coarse_model_is_exported(tiny_model: VisionTransformer) -> None:
    """All activations and ReLU-softmax weights of a model coarse: the same function in real arithmetic, cheaper."""
    names = [f"block{i}.{value}" for i in range(TINY.depth) for value in ("act", "fc1")]
    names += [f"block{i}.attn.relu_softmax.{value}" for i in range(TINY.depth) for value in ("weights", "scores")]
    images = make_images(TINY, 16)
    fine = export_vit(tiny_model, images)
    coarse = export_vit(tiny_model, images, Precision(steps=tuple((name, 2.0**-4) for name in names)))
    assert coarse.fidelity < 1e-9
    assert material(coarse.program) < material(fine.program)
    fracs = {node.name: node.type.frac for node in coarse.program.nodes}
    assert {fracs[name] for name in names if name in fracs} == {4}
