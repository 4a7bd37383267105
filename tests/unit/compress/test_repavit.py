"""Idle channels: which ones, and that their lines are exact."""

from __future__ import annotations

import pytest
import torch

from mpcvit.compress import compress
from mpcvit.compress.passes.lpvit import LPViT
from mpcvit.compress.passes.mixed_rank import MixedRank
from mpcvit.compress.passes.repavit import RePaViT, fit_lines, with_batch_norms
from mpcvit.errors import ConfigError
from mpcvit.export.vit import export_vit
from mpcvit.models.activation import ACTIVATIONS
from mpcvit.models.block import LayerRanks
from mpcvit.models.kinds import Activation, GateAxis, Norm
from mpcvit.models.merge_hidden_norms import merge_hidden_norms
from mpcvit.ops import Relu
from mpcvit.quantize.config import Bits, Method, QuantizeConfig
from mpcvit.quantize.quantize import quantize
from tests.support.columns import column, varied
from tests.support.images import make_images
from tests.support.mlp_variants import BASE, GELU, IDENTITY, QUAD, QUICK, RELU, channels, make_variant
from tests.support.models import make_model

IMAGES = make_images(BASE, 80)


def _hidden(model: torch.nn.Module, number: int) -> torch.Tensor:
    """What the activation of a block reads on all pictures, float64 [rows, channels]."""
    seen = []
    hook = model.blocks[number].mlp.act.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(IMAGES)
    hook.remove()
    return seen[0].flatten(0, 1).double()


@pytest.mark.parametrize("activation", [GELU, RELU, QUAD])
def test_lines_are_least_squares(activation: Activation) -> None:
    """Slope, offset and error of every channel are those of torch's own solver."""
    model = make_model(varied(BASE, activation=(activation, IDENTITY)))
    lines = fit_lines(model, IMAGES)
    assert set(lines) == {0}
    hidden = _hidden(model, 0)
    with torch.no_grad():
        activated = model.blocks[0].mlp.act.double()(hidden)
    for channel in range(BASE.blocks[0].hidden):
        h, a = hidden[:, channel], activated[:, channel]
        ones = torch.stack([h, torch.ones_like(h)], dim=1)
        slope, offset = torch.linalg.lstsq(ones, a[:, None]).solution[:, 0]
        assert float(lines[0].slope[channel]) == pytest.approx(float(slope), abs=1e-4)
        assert float(lines[0].offset[channel]) == pytest.approx(float(offset), abs=1e-4)
        error = float((a - slope * h - offset).square().mean())
        assert float(lines[0].error[channel]) == pytest.approx(error, abs=1e-4 * float(a.square().mean()) + 1e-7)


@pytest.mark.parametrize("ranks", [(), (LayerRanks(fc2=5),) * 2], ids=["full", "low_rank"])
def test_idle_channels_are_their_lines(ranks: tuple[LayerRanks, ...]) -> None:
    """The result computes what the model computes with every idle activation replaced by its line."""
    model = make_model(varied(BASE, activation=(GELU, RELU), ranks=ranks))
    lines = fit_lines(model, IMAGES)
    result = compress(model, RePaViT(theta=0.75), IMAGES)
    assert [len(gate.kept) for gate in column(result.config, "gate")] == [4, 4]
    assert {gate.axis for gate in column(result.config, "gate")} == {GateAxis.CHANNEL}
    for number, gate in enumerate(column(result.config, "gate")):
        kept, line, act = list(gate.kept), lines[number], ACTIVATIONS[column(model.config, "activation")[number]]()

        class Mixed(torch.nn.Module):
            def forward(self, h: torch.Tensor, kept=kept, line=line, act=act) -> torch.Tensor:
                mixed = (line.slope * h + line.offset).to(h)
                mixed[..., kept] = act(h)[..., kept]
                return mixed

        model.blocks[number].mlp.act = Mixed()
    with torch.no_grad():
        assert torch.allclose(result(IMAGES), model(IMAGES), atol=1e-4)


def test_channels_that_matter_keep_their_activation() -> None:
    """Channels that are always positive (a line for ReLU), and those that nobody reads, are idle first."""
    model = make_model(BASE)
    with torch.no_grad():
        model.blocks[0].mlp.fc1.bias[:6] = 1000.0  # always on
        model.blocks[0].mlp.fc2.weight[:, 6:10] = 0.25  # only moves the mean, which no reader sees
        before = model(IMAGES)
    result = compress(model, RePaViT(theta=10 / 16), IMAGES)
    assert column(result.config, "gate")[0].kept == tuple(range(10, 16))
    with torch.no_grad():  # the other block as it was: what the first one lost is next to nothing
        result.blocks[1].mlp.load_state_dict(model.blocks[1].mlp.state_dict())
        result.blocks[1].mlp.gate = None
        assert torch.allclose(result(IMAGES), before, atol=0.02 * float(before.abs().max()))


def test_all_channels_idle_is_no_activation() -> None:
    """With theta 1 blocks are linear; the export of a share has as many comparisons fewer."""
    model = make_model(BASE)
    assert column(compress(model, RePaViT(theta=1.0), IMAGES).config, "activation") == (IDENTITY,) * 2
    half = compress(model, RePaViT(theta=0.5), IMAGES)
    exported = export_vit(half, IMAGES[:16], QUICK)
    assert exported.fidelity < 1e-9
    sizes = [node.type.size for node in exported.program.nodes if isinstance(node.op, Relu) and "act" in node.name]
    assert sizes == [BASE.tokens * BASE.blocks[0].hidden // 2] * 2


def test_models_in_training_are_left_as_they_are() -> None:
    """Running the model for calibration moves no statistics and leaves no gradients; the result is in eval mode."""
    config = varied(BASE, norms=((Norm.LAYERNORM, Norm.BATCHNORM),) * 2)
    model = make_model(config).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for settings in (RePaViT(theta=0.5), MixedRank(reduction=0.05, compensation=1), LPViT(sparsity=0.2, block=4)):
        assert not compress(model, settings, IMAGES).training
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_wrong_settings_and_models_are_refused() -> None:
    """Shares out of range, gates and shared weights."""
    for theta in (0.0, 1.01, -0.5):
        with pytest.raises(ConfigError, match="idle channels"):
            RePaViT(theta=theta)
    settings = RePaViT(theta=0.5)
    with pytest.raises(ConfigError, match="gated already"):
        compress(make_model(varied(BASE, gate=(channels(1), None))), settings, IMAGES)
    with pytest.raises(ConfigError, match="share weights"):
        compress(make_model(varied(BASE, owners=(0, 0))), settings, IMAGES)


def test_batch_norms_begin_as_near_as_they_can() -> None:
    """Those behind activations change nothing; each in a layer norm's place gives its best line, channel by channel."""
    model = make_model(varied(BASE, norms=((Norm.LAYERNORM, Norm.BATCHNORM),) * 2, activation=(GELU, RELU)))
    with torch.no_grad():
        result = with_batch_norms(model, IMAGES)
        assert column(result.config, "hidden_norm") == (True, True)
        assert torch.allclose(result(IMAGES), model(IMAGES), atol=1e-4)
        plain = make_model(varied(BASE, activation=(GELU, RELU)))
        mended = with_batch_norms(plain, IMAGES)
        stream = plain.intermediates(IMAGES)[1]
        read = stream["embed"] + stream["block0.attn"]
        wanted = plain.blocks[0].norm2(read).flatten(0, 1).double()
        got = mended.blocks[0].norm2(read).flatten(0, 1).double()
        free = (read - read.mean(-1, keepdim=True)).flatten(0, 1).double()
        for channel in range(BASE.dim):
            columns = torch.stack([free[:, channel], torch.ones(len(free), dtype=torch.float64)], dim=1)
            line = columns @ torch.linalg.lstsq(columns, wanted[:, channel, None]).solution
            assert torch.allclose(got[:, channel], line[:, 0], atol=1e-4)


@pytest.mark.parametrize("ranks", [(), (LayerRanks(fc2=5),) * 2], ids=["full", "low_rank"])
def test_norms_behind_activations_merge_into_the_layer_behind(ranks: tuple[LayerRanks, ...]) -> None:
    """The model without them computes the same in eval mode; a pass begins with it, and so does quantization."""
    model = make_variant(varied(BASE, activation=(GELU, RELU), ranks=ranks, hidden_norm=(True, False)))
    merged = merge_hidden_norms(model)
    with torch.no_grad():
        assert torch.allclose(merged(IMAGES), model(IMAGES), atol=1e-4)
    assert merge_hidden_norms(merged) is merged
    smaller = compress(model, RePaViT(theta=0.5, batch_norms=True), IMAGES)
    assert column(smaller.config, "hidden_norm") == (True, True)
    assert {gate.axis for gate in column(smaller.config, "gate")} == {GateAxis.CHANNEL}
    if not ranks:
        bits = Bits(weight=8, activation=8)
        quantized = quantize(model, QuantizeConfig(method=Method.MINMAX, bits=bits), IMAGES[:16])
        assert column(quantized.config, "hidden_norm") == (False, False)


def test_batch_norms_cost_nothing_on_shares() -> None:
    """A layer norm per block is gone, and the second batch norm adds no op."""
    model = make_model(varied(BASE, activation=(RELU, RELU)))
    plain = export_vit(compress(model, RePaViT(theta=0.5), IMAGES), IMAGES, QUICK)
    mended = export_vit(compress(model, RePaViT(theta=0.5, batch_norms=True), IMAGES), IMAGES, QUICK)
    assert len(mended.program.nodes) < len(plain.program.nodes)
    assert sum(isinstance(node.op, Relu) for node in mended.program.nodes) == 2


def test_blocks_that_share_have_no_norm_behind_activations() -> None:
    """Statistics go into the weights."""
    with pytest.raises(ConfigError, match="batch norms"):
        varied(BASE, owners=(0, 0), hidden_norm=(True, True))
