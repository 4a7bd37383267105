"""What is added to a model's tokens: registers, prompts and a denoiser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.models.dynamic_prompts import DynamicPrompts
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.prompts import Prompts
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.trained import load_model, save_model
from mpcvit.train.config import TrainConfig
from mpcvit.train.run import build_model
from mpcvit.train.token_hooks import Denoiser, DynamicPrompt, Registers
from tests.support.columns import varied
from tests.support.training import CONFIG, TINY, losses, same_weights, train_on_cpu

EVERYTHING = (Registers(count=2), DynamicPrompt(count=3, width=4), Denoiser(heads=(AttentionKind.SOFTMAX,) * 2))


def test_a_run_with_every_hook_resumes_and_loads(images: ImageSet, tmp_path: Path) -> None:
    """The folder holds the extended architecture; a run that is over does nothing when it is started again."""
    config = replace(CONFIG, epochs=2, token_hooks=EVERYTHING)
    model = train_on_cpu(config, images, tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.config.registers, loaded.config.prompts) == (2, Prompts(count=3, width=4))
    assert (loaded.config.denoiser, loaded.config.depth) == (True, 3)
    assert same_weights(model, loaded)
    assert same_weights(train_on_cpu(config, images, tmp_path), model)


def test_every_added_parameter_learns() -> None:
    """Gradients reach registers, prompts and denoiser, beside all that was there; in prompts once ``up`` moves."""
    model = build_model(replace(CONFIG, token_hooks=EVERYTHING, drop_path=0.0), 2)
    assert model.prompts is not None
    torch.nn.init.normal_(model.prompts.up.weight)
    for part in (model.blocks[-1].attn.proj, model.blocks[-1].mlp.fc2):
        torch.nn.init.normal_(part.weight)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


def test_no_head_reads_extra_tokens() -> None:
    """The mean is of patches, so that registers count by attention alone: 0 if that writes nothing."""
    model = VisionTransformer(replace(TINY, registers=3)).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = model(images)
        model.registers.normal_()
        assert not torch.allclose(before, model(images), atol=1e-6)
        for block in model.blocks:
            block.attn.proj.weight.zero_()
        silent = model(images)
        model.registers.normal_()
        assert torch.equal(silent, model(images))


def test_a_denoiser_changes_nothing_at_first(images: ImageSet, tmp_path: Path) -> None:
    """Behind a trained model: the same answers, a block more, positions of its own."""
    save_model(build_model(CONFIG, 2), tmp_path / "start")
    config = replace(CONFIG, token_hooks=(Denoiser(hidden=8),), epochs=1, lr=1e-30)
    model = train_on_cpu(config, images, tmp_path / "out", start_from=tmp_path / "start")
    pictures = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(model(pictures), load_model(tmp_path / "start")(pictures), atol=1e-5)
    assert model.config.blocks[-1].hidden == 8
    assert model.denoiser_embed.shape == (4, 16)


def test_prompts_are_their_formula() -> None:
    """base + up(softmax(queries h^T / sqrt(W)) h), picture by picture; at first base alone."""
    torch.manual_seed(0)
    prompts = DynamicPrompts(Prompts(count=2, width=3), 5)
    patches = torch.randn(4, 7, 5)
    with torch.no_grad():
        assert torch.equal(prompts(patches), prompts.base.expand(4, -1, -1))
        prompts.up.weight.normal_()
        got = prompts(patches)
        for picture, rows in enumerate(patches):
            rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, correction=0, keepdim=True) + 1e-4).sqrt()
            h = torch.nn.functional.gelu(rows @ prompts.down.weight.T + prompts.down.bias)
            scores = torch.exp(prompts.queries @ h.T / 3**0.5)
            mixed = scores @ h / scores.sum(1, keepdim=True)
            assert torch.allclose(got[picture], prompts.base + mixed @ prompts.up.weight.T, atol=1e-5)


def test_prompt_tuning_trains_a_small_part(images: ImageSet, tmp_path: Path) -> None:
    """DVPT: a few parameters and the head learn, and tell dark from bright on a model that never learnt it."""
    config = replace(CONFIG, token_hooks=(DynamicPrompt(count=2, width=4),), trained=("prompts.*", "head.*"), epochs=6)
    model = train_on_cpu(config, images, tmp_path)
    before = build_model(config, 2).state_dict()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"prompts", "head"}
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]


def test_hooks_that_do_not_fit_are_refused(images: ImageSet, tmp_path: Path) -> None:
    """Twice the same prompts or denoiser, none, heads of another number, and kinds that take no more tokens."""
    prompt, denoiser = DynamicPrompt(), Denoiser()
    for hooks, message in (
        ((prompt, prompt), "prompts for a model that has some"),
        ((denoiser, denoiser), "a denoiser for a model that has one"),
        ((Denoiser(heads=(AttentionKind.SOFTMAX,)),), "head_width"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_model(TrainConfig(model="tiny", architecture=TINY, epochs=1, token_hooks=hooks), 2)
    for make, message in (
        (lambda: Registers(count=0), "0 registers"),
        (lambda: Prompts(count=1, width=0), "bottleneck of 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()
    linformer = varied(TINY, heads=((AttentionKind.LINFORMER,) * 2,) * 2, activation=(Activation.RELU,) * 2)
    save_model(VisionTransformer(linformer), tmp_path / "start")
    with pytest.raises(ConfigError, match=r"without a place: .*key_projection"):
        train_on_cpu(
            replace(CONFIG, token_hooks=(Registers(),)), images, tmp_path / "out", start_from=tmp_path / "start"
        )
