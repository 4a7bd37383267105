"""Objectives against their formulas, and that they teach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, ReductionKind
from mpcvit.models.token_flow import Reduction
from mpcvit.models.vit import VisionTransformer
from mpcvit.train.config import ObjectiveName, TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.objectives.distillation import Distillation
from mpcvit.train.objectives.make import make_objective
from mpcvit.train.objectives.mpcformer import HiddenStates, SoftLabels
from mpcvit.train.objectives.objective import Loss
from mpcvit.train.objectives.teacher import Teacher
from mpcvit.train.objectives.weight_distillation import WeightDistillation
from tests.support.columns import column, configured, varied

STUDENT = configured(
    image_size=8,
    patch_size=4,
    classes=3,
    dim=16,
    hidden=24,
    heads=((AttentionKind.SCALING, AttentionKind.SCALING),) * 2,
    activation=(Activation.RELU,) * 2,
)
TEACHER = varied(STUDENT, heads=((AttentionKind.SOFTMAX,) * 2,) * 2, activation=(Activation.GELU,) * 2)
LABELS = torch.tensor([0, 2, 1, 1])


def _model(config: ViTConfig, seed: int) -> VisionTransformer:
    """Weights large enough to matter."""
    torch.manual_seed(seed)
    model = VisionTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture
def student() -> VisionTransformer:
    """The model that learns."""
    return _model(STUDENT, 0)


@pytest.fixture
def teacher() -> Teacher:
    """The one that it learns from."""
    return Teacher(_model(TEACHER, 1))


@pytest.fixture
def images() -> torch.Tensor:
    """Four pictures."""
    torch.manual_seed(2)
    return torch.randn(4, 3, 8, 8)


OBJECTIVES: dict[str, Callable[[Teacher], Loss]] = {
    "cross_entropy": lambda _: CrossEntropy(0.1),
    "distillation": lambda teacher: Distillation(teacher, token_weight=0.5, smoothing=0.1),
    "hidden": HiddenStates,
    "logits": SoftLabels,
    "weights": WeightDistillation,
}


def _smooth(labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    return nn.functional.one_hot(labels, 3) * (1 - smoothing) + smoothing / 3


def _naive_cross_entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return -(wanted * (logits - logits.exp().sum(1, keepdim=True).log())).sum() / len(logits)


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_is_its_formula(student: VisionTransformer, images: torch.Tensor, soft: bool) -> None:
    """Class numbers are smoothed; distributions are taken as they are."""
    wanted = _smooth(LABELS, 0.1)
    got = CrossEntropy(0.1)(student, images, wanted if soft else LABELS)
    assert torch.allclose(got, _naive_cross_entropy(student(images), wanted), atol=1e-6)


def test_distillation_is_its_formula(student: VisionTransformer, teacher: Teacher, images: torch.Tensor) -> None:
    """Labels, the teacher's softmax, and kappa times the squared error of all normalised tokens of the last block."""
    got = Distillation(teacher, token_weight=0.5, smoothing=0.1)(student, images, LABELS)
    logits, out = student.intermediates(images)
    teacher_logits, teacher_out = teacher.model.intermediates(images)
    exponentials = teacher_logits.exp()
    tokens = student.norm(out["block1"]) - teacher.model.norm(teacher_out["block1"])
    expected = (
        _naive_cross_entropy(logits, _smooth(LABELS, 0.1))
        + _naive_cross_entropy(logits, exponentials / exponentials.sum(1, keepdim=True))
        + 0.5 * tokens.square().sum() / tokens.numel()
    )
    assert torch.allclose(got, expected, atol=1e-5)


def test_mpcformer_is_its_formulas(student: VisionTransformer, teacher: Teacher, images: torch.Tensor) -> None:
    """Stage 1 adds up five squared errors of a two-block model; stage 2 is the teacher's softmax alone."""
    logits, out = student.intermediates(images)
    teacher_logits, wanted = teacher(images)
    names = ["embed", "block0.attn", "block0", "block1.attn", "block1"]
    expected = sum((out[name] - wanted[name]).square().mean() for name in names)
    assert torch.allclose(HiddenStates(teacher)(student, images, LABELS), torch.as_tensor(expected), rtol=1e-5)
    soft = _naive_cross_entropy(logits, teacher_logits.softmax(1))
    assert torch.allclose(SoftLabels(teacher)(student, images, LABELS), soft, atol=1e-6)


def _relations(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Softmax of scaled products, token by token."""
    scores = torch.tensor([[float((a * b).sum()) / len(a) ** 0.5 for b in others] for a in rows])
    return scores.exp() / scores.exp().sum(1, keepdim=True)


def test_weight_distillation_is_its_formula(images: torch.Tensor) -> None:
    """Answers, nine relations of Q, K and V, and those of normalised streams; width, heads and depth may differ."""
    student = _model(
        varied(STUDENT, heads=column(STUDENT, "heads")[:1], activation=column(STUDENT, "activation")[:1]), 0
    )
    teacher = Teacher(_model(varied(TEACHER, dim=24, heads=((AttentionKind.SOFTMAX,) * 3,) * 2), 1))
    with torch.no_grad():
        got = WeightDistillation(teacher, attention_weight=0.7, hidden_weight=0.3)(student, images, LABELS)
        (logits, out), (teacher_logits, wanted) = student.intermediates(images), teacher(images)
        last = teacher.model.blocks[1]  # what the one block of the student is compared with
        ours = student.blocks[0].attn.qkv(student.blocks[0].norm1(out["embed"])).chunk(3, dim=-1)
        theirs = last.attn.qkv(last.norm1(wanted["block0"])).chunk(3, dim=-1)
        crosses, squares = [], []
        for image in range(4):
            for i in range(3):
                for j in range(3):
                    target = _relations(theirs[i][image], theirs[j][image])
                    crosses.append(_naive_cross_entropy(_relations(ours[i][image], ours[j][image]).log(), target))
            grams = []
            for stream in (out["block0"][image], wanted["block1"][image]):
                rows = stream / stream.square().sum(1, keepdim=True).sqrt()
                grams.append(rows @ rows.T)
            squares.append((grams[0] - grams[1]).square().mean())
        soft = _naive_cross_entropy(logits, teacher_logits.softmax(1))
        expected = soft + 0.7 * torch.stack(crosses).mean() + 0.3 * 4 * torch.stack(squares).mean()
    assert torch.allclose(got, expected, rtol=1e-4)


def test_weight_distillation_compares_every_second_block(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the last one on, each with the block of the same number in a teacher of equal depth."""
    config = varied(STUDENT, heads=column(STUDENT, "heads")[:1] * 4, activation=column(STUDENT, "activation")[:1] * 4)
    student = _model(config, 0)
    compared: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        compared.append((ours, theirs))
        return ours.sum()

    monkeypatch.setattr("mpcvit.train.objectives.weight_distillation.attention_relations", record)
    WeightDistillation(Teacher(student))(student, images, LABELS)
    out = student.intermediates(images)[1]
    assert len(compared) == 2
    for number, (ours, theirs) in zip((3, 1), compared, strict=True):
        block = student.blocks[number]
        wanted = block.attn.qkv(block.norm1(out[f"block{number - 1}"]))
        assert torch.allclose(ours, wanted, atol=1e-5)
        assert torch.allclose(theirs, wanted, atol=1e-5)


def test_weight_distillation_needs_equal_tokens(student: VisionTransformer, teacher: Teacher) -> None:
    """Another number of tokens, and models without blocks, are refused; hooks do not stay behind."""
    longer = _model(replace(STUDENT, class_token=True), 0)
    with pytest.raises(ConfigError, match="5 tokens in block 1 of the student, 4 in the teacher"):
        WeightDistillation(teacher)(longer, torch.zeros(1, 3, 8, 8), LABELS[:1])
    assert not any(module._forward_hooks for module in longer.modules())
    with pytest.raises(ConfigError, match="in weight distillation"):
        WeightDistillation(teacher)(nn.Flatten(), torch.zeros(1, 3, 8, 8), LABELS[:1])


def test_weight_distillation_of_models_that_drop_tokens(teacher: Teacher, images: torch.Tensor) -> None:
    """EViT's streams are too short to compare; where both have it, relations are those of each block's attention."""
    config = varied(STUDENT, reduction=(Reduction(kind=ReductionKind.EVIT, keep=2), None))
    with pytest.raises(ConfigError, match="3 tokens in block 1 of the student, 4 in the teacher"):
        WeightDistillation(teacher)(_model(config, 0), images, LABELS)
    student, other = _model(config, 0), Teacher(_model(config, 1))

    def attention() -> torch.Tensor:
        with_, without = (
            WeightDistillation(other, attention_weight=weight, hidden_weight=0.0) for weight in (1.0, 0.0)
        )
        return with_(student, images, LABELS) - without(student, images, LABELS)

    with torch.no_grad():
        before = attention()
        student.blocks[1].attn.qkv.bias.add_(1.0)
        assert abs(attention() - before) > 0.01


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_decrease_and_teachers_stay(
    name: str, student: VisionTransformer, teacher: Teacher, images: torch.Tensor
) -> None:
    """Thirty steps lower the loss; the teacher has no gradient, does not train and keeps its weights."""
    before = {key: value.clone() for key, value in teacher.model.state_dict().items()}
    objective = OBJECTIVES[name](teacher)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = objective(student.train(), images, LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.model.parameters())
    assert not teacher.model.training
    assert all(torch.equal(value, before[key]) for key, value in teacher.model.state_dict().items())


def test_unequal_teachers_are_refused(student: VisionTransformer, images: torch.Tensor) -> None:
    """Tokens of another width, another depth, and a model without intermediates cannot be compared."""
    wide = Teacher(_model(replace(TEACHER, dim=32), 1))
    with pytest.raises(ConfigError, match=r"\[4, 16\] in the student, \[4, 32\] in the teacher"):
        Distillation(wide)(student, images, LABELS)
    assert Distillation(wide, token_weight=0)(student, images, LABELS).isfinite()
    shallow = Teacher(_model(varied(TEACHER, heads=column(TEACHER, "heads")[:1], activation=(Activation.GELU,)), 1))
    with pytest.raises(ConfigError, match="2 blocks in the student, 1 in the teacher"):
        HiddenStates(shallow)(student, images, LABELS)
    with pytest.raises(ConfigError, match="a Flatten in distillation"):
        Distillation(wide)(nn.Flatten(), images, LABELS)


@pytest.mark.parametrize("name", ObjectiveName)
def test_names_make_objectives(name: ObjectiveName) -> None:
    """Every name has an objective; all ask for a teacher but those that learn from pictures or labels alone."""
    config = TrainConfig(model="tiny", epochs=1, objective=name, token_weight=0.25, smoothing=0.2)
    made = make_objective(config, STUDENT, _model(TEACHER, 1))
    assert made.__class__.__name__ in (
        "CrossEntropy",
        "Distillation",
        "HiddenStates",
        "NormDistillation",
        "SoftLabels",
        "WeightDistillation",
        "Reconstruction",
        "ViewDistillation",
    )
    if name == ObjectiveName.CROSS_ENTROPY:
        assert made == CrossEntropy(0.2)
    elif name not in (ObjectiveName.RECONSTRUCTION, ObjectiveName.STORED_LOGITS):
        with pytest.raises(ConfigError, match="--teacher"):
            make_objective(config, STUDENT, None)
    if isinstance(made, Distillation):
        assert (made.token_weight, made.smoothing) == (0.25, 0.2)
