"""Experts weights averaging against its formulas, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.block import Gate
from mpcvit.models.kinds import GateAxis
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.trained import load_model
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.run import build_model
from mpcvit.train.trainer import fit
from mpcvit.train.weight_hooks import ExpertAveraging, KeptZeros
from mpcvit.train.weight_hooks.ewa import Experts
from tests.support.columns import varied
from tests.support.training import CONFIG, TINY, same_weights, train_on_cpu

HOOK = ExpertAveraging(experts=3, rate=0.5, every=1)


def _experts(model: nn.Module) -> list[Experts]:
    return [module for module in model.modules() if isinstance(module, Experts)]


def test_tokens_are_dealt_to_experts_evenly() -> None:
    """In training each token has one expert, at random, and comes back to its place; else all have the mean's."""
    model = VisionTransformer(TINY)
    mlp = model.blocks[0].mlp
    experts = Experts(mlp, 4)
    x = torch.randn(2, 8, 16)
    with torch.no_grad():
        assert torch.allclose(experts.train()(x), mlp(x), atol=1e-6)  # as long as they are equal
        for number, expert in enumerate(experts.experts):
            expert.fc2.weight.zero_()
            expert.fc2.bias.fill_(float(number))
        dealt = experts(x)
        assert torch.equal(dealt[..., 0].flatten().sort().values, torch.arange(4.0).repeat_interleave(4))
        assert not torch.equal(dealt, experts(x))
        assert torch.allclose(experts.eval()(x), torch.full((), 1.5))


def test_experts_are_drawn_together_by_the_formula() -> None:
    """W_i <- (1 - b) W_i + b mean of the others, b a share of the rate that grows with the run."""
    model = VisionTransformer(TINY)
    HOOK.install(model)
    experts = _experts(model)[0]
    with torch.no_grad():
        for expert in experts.experts:
            expert.fc1.weight.normal_()
    before = [expert.fc1.weight.clone() for expert in experts.experts]
    HOOK.after_step(model, 0.4)
    for number, expert in enumerate(experts.experts):
        others = (sum(before) - before[number]) / 2
        assert torch.allclose(expert.fc1.weight, 0.8 * before[number] + 0.2 * others, atol=1e-6)
    mean = torch.stack(before).mean(0)  # which drawing together keeps
    HOOK.collapse(model)
    assert torch.allclose(model.blocks[0].mlp.fc1.weight, mean, atol=1e-6)
    assert set(model.state_dict()) == set(VisionTransformer(TINY).state_dict())


def test_alternate_blocks_have_experts() -> None:
    """Every second block by default, as the source replaces MLPs."""
    model = VisionTransformer(TINY)
    ExpertAveraging().install(model)
    assert [isinstance(block.mlp, Experts) for block in model.blocks] == [False, True]


def test_a_run_with_experts_resumes_and_leaves_an_ordinary_model(images: ImageSet, tmp_path: Path) -> None:
    """Bit for bit as without an interruption; the averaged weights are what was validated and what is saved."""
    config = replace(CONFIG, weight_hooks=(HOOK,), ema_decay=0.9, sam_rho=0.05)
    answers = torch.randn(2, 3, 8, 8)
    seen: list[int] = []

    def stop(epochs_done: int, model: nn.Module, _: Mapping[str, float]) -> None:
        seen.append(len(_experts(model)))
        if epochs_done == 2:
            raise KeyboardInterrupt

    def run(folder: Path, **options: object) -> nn.Module:
        return fit(
            build_model(config, 2),
            config,
            images,
            folder,
            objective=CrossEntropy(),
            device="cpu",
            workers=0,
            **options,
        )

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", after_epoch=stop)
    assert seen == [2, 2]
    resumed = run(tmp_path / "parts")
    assert same_weights(whole, resumed)
    loaded = load_model(tmp_path / "parts")
    assert loaded.config == TINY
    with torch.no_grad():
        assert torch.equal(loaded(answers), resumed(answers))


def test_models_without_such_mlps_are_refused(images: ImageSet, tmp_path: Path) -> None:
    """Shared weights, gates over tokens, and numbers out of range."""
    gate = Gate(axis=GateAxis.TOKEN, kept=(1,))
    for architecture, message in (
        (varied(TINY, owners=(0, 0)), "shared weights"),
        (varied(TINY, gate=(gate, gate)), "depends on the token"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_on_cpu(replace(CONFIG, architecture=architecture, weight_hooks=(HOOK,)), images, tmp_path)
    for change in ({"experts": 1}, {"rate": 1.5}, {"every": 0}):
        with pytest.raises(ConfigError, match="at least 2 experts"):
            replace(HOOK, **change)


def test_zeros_of_a_pruned_model_stay(images: ImageSet, tmp_path: Path) -> None:
    """What is 0 in blocks at first is 0 at the end, also in averaged weights; the rest learns, no mask is left."""
    model = build_model(CONFIG, 2)
    weight = model.blocks[0].mlp.fc1.weight
    with torch.no_grad():
        weight[:4, :8] = 0
        before = weight.clone()
    config = replace(CONFIG, weight_hooks=(KeptZeros(),), ema_decay=0.9)
    trained = fit(model, config, images, tmp_path, objective=CrossEntropy(), device="cpu", workers=0)
    after = trained.blocks[0].mlp.fc1.weight
    assert torch.equal(after == 0, before == 0)
    assert not torch.equal(after, before)
    assert set(load_model(tmp_path).state_dict()) == set(VisionTransformer(TINY).state_dict())
    assert not hasattr(trained.blocks[0].mlp.fc1, "kept_zeros")


def test_models_without_zeros_are_refused() -> None:
    """There would be nothing to keep."""
    model = VisionTransformer(TINY)
    with pytest.raises(ConfigError, match="without a weight that is 0"):
        KeptZeros().install(model)
    with pytest.raises(ConfigError, match="zeros of a Linear"):
        KeptZeros().install(nn.Linear(2, 2))
