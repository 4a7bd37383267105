"""A quantization method in two files, as CONTRIBUTING.md says."""

from __future__ import annotations

import json

from tests.support.contributing import files_to_touch
from tests.support.toy_tree import ToyTree

METHOD = '''"""Uniform quantizers on the inner half of all values."""

from __future__ import annotations

from typing import ClassVar

from mpcvit.quantize.calibrate.place_by_place import PlaceByPlace
from mpcvit.quantize.config import Method
from mpcvit.quantize.ranges import Percentile, RangeRule


class ToyCalibration(PlaceByPlace):
    """Ranges without their tails, which are long."""

    method: ClassVar[Method] = Method.TOY
    rule: ClassVar[RangeRule] = Percentile((0.75,))
'''

SCRIPT = """
import json
from pathlib import Path

import torch
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.sizes import vit_6_4_32
from mpcvit.models.vit import VisionTransformer
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from mpcvit.store.quantized import load_quantized, save_quantized

torch.manual_seed(0)
model = VisionTransformer(vit_6_4_32(AttentionKind.RELU_SOFTMAX, Activation.RELU)).eval()
images, bits = torch.randn(2, 3, 32, 32), Bits(weight=8, activation=8)
config = QuantizeConfig(method=Method("toy"), bits=bits)
done = quantize(model, config, images)
save_quantized(done, config, Path("kept"))
again, read = load_quantized(Path("kept"))
steps = [
    float(quantize(model, QuantizeConfig(method=method, bits=bits), images).head.quantize_input.scale)
    for method in (Method.TOY, Method.MINMAX)
]
print(json.dumps({
    "kept": read == config and bool(torch.equal(done(images), again(images))),
    "finer": steps[0] < steps[1],
    "offered": "toy" in CliRunner().invoke(app, ["quantize", "--help"], env={"COLUMNS": "300"}).output,
}))
"""


def test_a_quantization_method_touches_two_files(toy_tree: ToyTree) -> None:
    """Its own, and the list of names; the command offers it, and its models are written and read."""
    toy_tree.add("mpcvit/quantize/methods/toy.py", METHOD)
    toy_tree.change("mpcvit/quantize/config.py", '    MINMAX = "minmax"\n', '    MINMAX = "minmax"\n    TOY = "toy"\n')
    found = json.loads(toy_tree.run(SCRIPT).splitlines()[-1])
    assert found == {"kept": True, "finer": True, "offered": True}
    assert tuple(toy_tree.touched) == files_to_touch("A quantization method", "toy")
