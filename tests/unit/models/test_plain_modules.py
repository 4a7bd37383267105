"""Plain modules: what reads what, and in which order."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from mpcvit.export.traced.factory import module_facts
from mpcvit.models.plain.bag_pooling import BagPooling
from mpcvit.models.plain.blocks import nearest, patches
from mpcvit.models.plain.channel_tokens import ChannelTokens, sampled_channels
from mpcvit.models.plain.class_prompts import ClassPrompts
from mpcvit.models.plain.heat_maps import HeatMaps
from mpcvit.models.plain.lens import Lens
from mpcvit.models.plain.point_classifier import PointClassifier
from mpcvit.models.plain.quality_token import QualityToken
from mpcvit.models.plain.slices import Slices
from mpcvit.models.plain.splice_localiser import edge_loss
from mpcvit.models.plain.task_experts import TaskExperts
from mpcvit.models.plain.tic import AttentionConvolution
from mpcvit.models.plain.tubelets import Tubelets, dual_mask
from tests.support.plain_modules import CASES
from tests.support.traced import enlivened

FOLDER = Path(__file__).resolve().parents[3] / "mpcvit" / "models" / "plain"
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"__init__", "blocks"})


def test_every_file_has_a_case() -> None:
    """What is there is compared on shares."""
    assert set(FILES) == set(CASES)


@pytest.mark.parametrize("name", FILES)
def test_factories_say_what_their_modules_read(name: str) -> None:
    """A module that answers one input of its shape, alike with another one beside it."""
    module = importlib.import_module(f"mpcvit.models.plain.{name}").build().eval()
    facts = module_facts(module, None, None, None)
    torch.manual_seed(0)
    two = torch.randn(2, *facts.input.shape)
    with torch.no_grad():
        both = module(two)
        assert both.shape[0] == 2
        assert both.ndim in (2, 4)
        assert torch.allclose(both[:1], module(two[:1]), atol=1e-5)


def test_patches_are_those_of_a_convolution() -> None:
    """In their order, and channels before rows before columns within one."""
    pictures, weight = torch.randn(2, 3, 6, 4), torch.randn(5, 3, 2, 2)
    rows = patches(pictures, 2) @ weight.flatten(1).T
    assert torch.allclose(rows, conv2d(pictures, weight, stride=2).flatten(2).mT, atol=1e-5)


def test_nearest_repeats_places() -> None:
    """Each place becomes a square."""
    grid = torch.arange(4.0).view(1, 1, 2, 2)
    assert nearest(grid, 2)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


@torch.no_grad()
def test_bags_have_no_order() -> None:
    """Pictures in another order answer alike; pooling is Ilse's equation 9."""
    module = enlivened(BagPooling(3, 8, 4, 12, 1))
    bags = torch.randn(1, 3, 3, 8, 8)
    assert torch.allclose(module(bags), module(bags[:, [2, 0, 1]]), atol=1e-5)
    h = module.features(bags)[0]
    gated = torch.tanh(module.tanh(h)) * torch.sigmoid(module.gate(h))
    scores = torch.exp(module.score(gated))
    pooled = (scores * h).sum(0) / scores.sum()
    assert torch.allclose(module(bags)[0], module.head(pooled), atol=1e-5)


@torch.no_grad()
def test_channels_that_are_missing_shorten_the_sequence() -> None:
    """A channel keeps its embedding, whichever others are there; samples have every size."""
    whole, part = (enlivened(ChannelTokens(3, present, 8, 4, 12, 1)) for present in (None, (2, 0)))
    part.load_state_dict(whole.state_dict())
    seen: list[torch.Tensor] = []
    for module in (whole, part):
        module.blocks.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stacks = torch.randn(1, 3, 8, 8)
    whole(stacks)
    part(stacks[:, [2, 0]])
    assert [x.shape[1] for x in seen] == [13, 9]
    assert torch.allclose(seen[1][:, 1:], torch.cat([seen[0][:, 9:], seen[0][:, 1:5]], dim=1), atol=1e-6)
    torch.manual_seed(0)
    draws = [sampled_channels(3) for _ in range(60)]
    assert {len(draw) for draw in draws} == {1, 2, 3}
    assert all(draw == sorted(set(draw)) for draw in draws)
    whole.train()
    torch.manual_seed(0)
    for _ in range(8):
        whole(stacks)
    assert len({x.shape[1] for x in seen[2:]}) > 1


@torch.no_grad()
def test_points_read_their_patches() -> None:
    """A point is the patch that it lies in; equal patches have equal answers."""
    module = PointClassifier(8, 4, 12, 1, points=((5, 1), (0, 7), (7, 3)))
    assert module.places.tolist() == [2, 1, 2]
    answer = enlivened(module)(torch.randn(1, 3, 8, 8))
    assert answer.shape == (1, 3, 1, 3)
    assert torch.allclose(answer[..., 0], answer[..., 2], atol=1e-5)
    assert not torch.allclose(answer[..., 0], answer[..., 1], atol=1e-3)


@torch.no_grad()
def test_prompts_explain_their_class() -> None:
    """What a prompt attends to is what its logit is made of: the softmax of its row."""
    module = enlivened(ClassPrompts(8, 4, 12, 2, classes=3))
    traits = module.traits(torch.randn(2, 3, 8, 8), 1)
    assert traits.shape == (2, 2, 2, 2)
    assert bool((traits.flatten(2).sum(-1) < 1).all())
    assert bool((traits > 0).all())
    assert len(set(module(torch.randn(1, 3, 8, 8))[0].tolist())) == 3


@torch.no_grad()
def test_windows_come_before_the_whole() -> None:
    """With the global block left out, a patch reads nothing outside of its window."""
    module = enlivened(HeatMaps(16, 4, 12, joints=2))
    module.everywhere = nn.Identity()
    pictures = torch.randn(1, 3, 16, 16)
    changed = pictures.clone()
    changed[:, :, 8:, 8:] += 1.0
    one, other = module(pictures), module(changed)
    assert torch.allclose(one[:, :, :4], other[:, :, :4], atol=1e-5)
    assert torch.allclose(one[:, :, 4:, :4], other[:, :, 4:, :4], atol=1e-5)
    assert not torch.allclose(one[:, :, 4:, 4:], other[:, :, 4:, 4:], atol=1e-2)


@torch.no_grad()
def test_places_attend_to_those_around_them() -> None:
    """Within the window, around the edges too."""
    layer = enlivened(AttentionConvolution(4, 2))
    grid = torch.randn(1, 5, 5, 4)
    changed = grid.clone()
    changed[0, 0, 0] += 1.0
    differs = (layer(grid) - layer(changed)).abs().amax(-1)[0] > 1e-6
    near = [4, 0, 1]
    expected = torch.zeros(5, 5, dtype=torch.bool)
    for row in near:
        expected[row, near] = True
    assert torch.equal(differs, expected)


def test_views_of_a_large_picture() -> None:
    """The overview is the mean of squares; slices follow row by row."""
    module = Slices(16, 2, 4, 12)
    pictures = torch.randn(1, 3, 16, 16)
    views = module.views(pictures)
    assert views.shape == (1, 5, 4, 48)
    assert torch.allclose(views[:, 0], patches(torch.nn.functional.avg_pool2d(pictures, 2), 4))
    assert torch.equal(views[:, 2], patches(pictures[:, :, :8, 8:], 4))
    assert torch.equal(views[:, 3], patches(pictures[:, :, 8:, :8], 4))


@torch.no_grad()
def test_patches_of_another_size() -> None:
    """Twice as large patches of an even picture are embedded alike."""
    module = enlivened(Slices(16, 2, 4, 12))
    before = module(torch.full((1, 3, 16, 16), 0.3))
    module.resize_patches(8)
    assert module.input_spec.shape == (3, 32, 32)
    assert torch.allclose(module(torch.full((1, 3, 32, 32), 0.3)), before, atol=1e-4)


@torch.no_grad()
def test_tubelets_go_through_frames() -> None:
    """A token reads its frames and no others; the decoder's places move on with time."""
    module = enlivened(Tubelets(4, 2, 8, 4, 12, 1))
    seen: list[torch.Tensor] = []
    module.blocks.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    clips = torch.randn(1, 4, 3, 8, 8)
    changed = clips.clone()
    changed[:, 3] += 1.0
    module(clips)
    module(changed)
    differs = (seen[0] - seen[1]).abs().amax(-1)[0] > 1e-6
    assert differs.tolist() == [False] * 4 + [True] * 4
    torch.manual_seed(0)
    encoder, decoder = dual_mask(3, 16)
    assert encoder.sum(1).tolist() == [4, 4, 4]
    assert bool((encoder[0] == encoder[2]).all())
    assert not bool((encoder & decoder).any())
    assert not torch.equal(decoder[0] | encoder[0], decoder[1] | encoder[1])


def test_a_lens_learns_and_its_vit_does_not() -> None:
    """Only what maps the modality to tokens, and the head, have gradients."""
    module = Lens(4, 2, 8, 4, 12, 1, latents=3)
    module.freeze()
    module(torch.randn(1, 4, 8, 8)).sum().backward()
    assert all(parameter.grad is None for parameter in module.vit.parameters())
    assert all(parameter.grad is not None for parameter in module.scores.parameters())


@torch.no_grad()
def test_tasks_share_all_but_experts_and_heads() -> None:
    """Another task, other experts; those of the other task change nothing."""
    first, second = TaskExperts((2, 3), 0, 8, 4, 12, 1), TaskExperts((2, 3), 1, 8, 4, 12, 1)
    second.load_state_dict(enlivened(first).state_dict())
    pictures = torch.randn(1, 3, 8, 8)
    before = first(pictures)
    assert (before.shape, second(pictures).shape) == ((1, 2), (1, 3))
    for parameter in first.blocks[0].experts[1].parameters():
        parameter.zero_()
    assert torch.equal(first(pictures), before)


def test_edges_count_once_more() -> None:
    """Where a mask's neighbour is another label; a mask without an edge has the plain loss."""
    logits, masks = torch.randn(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    plain = nn.functional.cross_entropy(logits, masks)
    assert torch.allclose(edge_loss(logits, masks), plain)
    masks[:, :, 3] = 1
    every = nn.functional.cross_entropy(logits, masks, reduction="none")
    beside = every[:, :, 2:].sum() / 16
    assert torch.allclose(edge_loss(logits, masks, 20.0), every.mean() + 20.0 * beside)


def test_quality_and_face_are_trained_together() -> None:
    """The embedding reads all patches; the answer is the quality."""
    module = QualityToken(8, 4, 12, 1, embedding=4)
    pictures = torch.randn(2, 3, 8, 8)
    quality, face = module.both(pictures)
    assert torch.equal(module(pictures), quality)
    assert (quality.shape, face.shape) == ((2, 1), (2, 4))
