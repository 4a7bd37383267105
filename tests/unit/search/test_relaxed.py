"""Models with a switch for every head and gate."""

from __future__ import annotations

import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.models.kinds import AttentionKind, GateAxis
from mpcvit.search.discretise import keep_top
from mpcvit.search.linearise import gates_by_mu
from mpcvit.search.relaxed import Penalised, RelaxedViT, hardened
from mpcvit.search.space import Space
from mpcvit.search.supernet import blocks_by_mu, heads_by_mu
from mpcvit.train.config import TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.optimizer import make_optimizer
from tests.support.columns import column, varied
from tests.support.searches import RELU, RS, SC, SM, config, relaxed


def test_alphas_begin_at_one() -> None:
    """A relaxed model begins as the model with everything on."""
    model, images = relaxed().eval(), torch.randn(3, 3, 8, 8)
    plain = hardened(model, model.config).eval()
    assert torch.allclose(model(images), plain(images), atol=1e-6)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_binary_switches_are_the_hardened_model(mu: float) -> None:
    """With switches at 0 and 1 the relaxed model computes what the configuration that they stand for computes."""
    model, images = relaxed().eval(), torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        for switch in [*model.head_switches, *model.gate_switches]:
            switch.copy_(torch.rand_like(switch))
    chosen = varied(gates_by_mu(model, mu), heads=column(heads_by_mu(model, mu), "heads"))
    model.freeze("heads", keep_top(model.head_switches, mu))
    model.freeze("gates", keep_top(model.gate_switches, mu))
    assert torch.allclose(model(images), hardened(model, chosen).eval()(images), atol=1e-5)


@pytest.mark.parametrize("axis", list(GateAxis))
def test_switches_learn_in_bfloat16(axis: GateAxis) -> None:
    """Under autocast, which gives products another number format than switches have."""
    model, images = relaxed(axis).train(), torch.randn(3, 3, 8, 8)
    exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()
    logits.float().square().mean().backward()
    for switch in [*model.head_switches, *model.gate_switches]:
        assert switch.grad is not None
        assert switch.grad.abs().sum() > 0


def test_learnt_kernels_are_carried_over() -> None:
    """Parameters of a kind, one per head, go along with the heads that keep it."""
    model = RelaxedViT(config((SM, SM)), pair=(SM, AttentionKind.QUAD2)).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".scale"):
                parameter.copy_(torch.rand_like(parameter))
        model.head_switches[0].copy_(torch.tensor([0.0, 1.0]))
        model.head_switches[1].copy_(torch.tensor([1.0, 0.0]))
    chosen = heads_by_mu(model, 0.5)
    assert column(chosen, "heads") == ((AttentionKind.QUAD2, SM), (SM, AttentionKind.QUAD2))
    assert torch.allclose(model(images), hardened(model, chosen).eval()(images), atol=1e-5)


def test_unequal_blocks_are_relaxed_each_in_its_size() -> None:
    """Blocks have as many switches as heads and channels; frozen, they are the hardened model, also from a file."""
    unequal = varied(config(), head_width=5, heads=((RS, RS, RS), (RS,)), hidden=(7, 11))
    model, images = RelaxedViT(unequal, pair=(RS, SC), gate_axis=GateAxis.CHANNEL).eval(), torch.randn(2, 3, 8, 8)
    assert [switch.numel() for switch in [*model.head_switches, *model.gate_switches]] == [3, 1, 7, 11]
    with torch.no_grad():
        for switch in [*model.head_switches, *model.gate_switches]:
            switch.copy_(torch.rand_like(switch))
    chosen = varied(gates_by_mu(model, 0.5), heads=column(heads_by_mu(model, 0.5), "heads"))
    for group, switches in model.switches.items():
        model.freeze(group, keep_top(switches, 0.5))
        assert model.is_frozen(group)
    again = RelaxedViT(unequal, pair=(RS, SC), gate_axis=GateAxis.CHANNEL).eval()
    again.load_state_dict(model.state_dict())
    assert torch.allclose(again(images), hardened(model, chosen).eval()(images), atol=1e-5)
    assert column(blocks_by_mu(model, 1.0), "heads") == column(unequal, "heads")


def test_blocks_that_share_weights_are_not_searched() -> None:
    """Neither relaxed nor sampled: a choice per block, or another width, would take them apart."""
    shared = varied(config(), owners=(0, 0))
    with pytest.raises(ConfigError, match="share weights"):
        RelaxedViT(shared, pair=(RS, SC))
    with pytest.raises(ConfigError, match="compressed model"):
        Space(base=shared, kinds=(RS,), activations=(RELU,))


def test_switches_are_exempt_from_weight_decay() -> None:
    """No group of the optimiser that decays holds a switch."""
    model = relaxed()
    switches = {id(switch) for switch in [*model.head_switches, *model.gate_switches]}
    assert len(switches) == 4
    optimizer = make_optimizer(model, TrainConfig(model="", epochs=1, weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed
    assert not decayed & switches
    assert len(model.no_weight_decay()) >= 4


def test_the_penalty_moves_alphas() -> None:
    """Heads that save more fall faster; without a penalty, and where frozen, switches stay within [0, 1] and put."""
    model, images = relaxed(), torch.randn(8, 3, 8, 8)
    targets = torch.arange(8) % 4
    model.freeze("gates", [[True] * 16, [False] * 16])
    model.penalties.copy_(torch.tensor([5.0, 5.0]))
    weights = {"heads": [[1.0, 1.0], [0.1, 0.1]], "gates": [[1.0], [1.0]]}
    loss = Penalised(model=model, base=CrossEntropy(), weights=weights)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        loss(model, images, targets).backward()
        optimizer.step()
    model.project()
    first, second = (switch.detach() for switch in model.head_switches)
    assert float(first.max()) < 0.7 < float(second.min()) < 1.0
    assert [float(gate.detach().mean()) for gate in model.gate_switches] == [1.0, 0.0]


def test_a_mixed_model_is_refused() -> None:
    """Heads to be replaced must all be of the expensive kind, and something must be relaxed."""
    with pytest.raises(ConfigError, match="expensive kind"):
        RelaxedViT(config((RS, SC)), pair=(RS, SC))
    with pytest.raises(ConfigError):
        RelaxedViT(config())
