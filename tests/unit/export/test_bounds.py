"""Bounds that hold for every picture: every op's rule, what is published, and certificates from a model's structure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpcvit.export.bounds.attention.projection import AttentionLayer, MixedHead, projection, taps_of
from mpcvit.export.bounds.attention.scaling import ScalingHead, scaling
from mpcvit.export.bounds.attention.scores import scores
from mpcvit.export.bounds.balls import box, gain, sum_of_balls
from mpcvit.export.bounds.coarse import coarse, power_of_two
from mpcvit.export.bounds.embedding import embedding
from mpcvit.export.bounds.mlp import activated, linear, written
from mpcvit.export.vit import Exported, export_vit
from mpcvit.models.kinds import AttentionKind
from mpcvit.ops import GridSpline, Op, Pick, Relu, Rescale, TensorType
from mpcvit.ops.bounds import Bounds
from mpcvit.ops.grouping import Grouping
from tests.support.cases import CASES, IDS
from tests.support.images import make_images
from tests.support.models import TINY, make_model

#: Beyond this, sums of codes could leave the ring; export refuses such ranges.
_RING = 2.0**61
#: What float64 may lose in a bound.
_FLOAT = 2.0**-45
_DIM, _HEAD, _OUT = 5, 2, 4


#: The attribute of an op that says how many bits its roundings have.
ROUNDING = {Rescale: "bits", GridSpline: "shift", Relu: "drop"}


def dropped_bits(op: Op) -> int:
    """log2 of the number of roundings that ``op`` draws from."""
    return getattr(op, ROUNDING[type(op)]) if type(op) in ROUNDING else 0


def intervals(kind: TensorType, part: float) -> Bounds:
    """Random intervals of codes within the first ``part`` of the type's: narrow ones, the whole and single codes."""
    scale = 2.0**kind.frac
    lo, hi = math.ceil(kind.qtype.lo * scale), math.floor(kind.qtype.hi * scale)
    hi = lo + round((hi - lo) * part)
    ends = (lo + (hi - lo) * torch.rand(2, *kind.shape, dtype=torch.float64)).round()
    which = torch.randint(0, 3, kind.shape)
    low = torch.where(which == 0, lo, ends.amin(0))
    high = torch.where(which == 0, hi, torch.where(which == 1, ends.amax(0), low))
    return Bounds(low, high)


def samples(within: Bounds, count: int) -> torch.Tensor:
    """Codes [count, ...] of the intervals; ends are as frequent as all others."""
    share = torch.rand(count, *within.lo.shape, dtype=torch.float64)
    codes = (within.lo + (within.hi - within.lo) * share).round()
    which = torch.randint(0, 4, codes.shape)
    return torch.where(which == 0, within.lo, torch.where(which == 1, within.hi, codes)).long()


def orders(kind: TensorType, groups: int, count: int) -> torch.Tensor:
    """Ranks [count, candidates] that are an order within every group."""
    grouping = Grouping(kind.size, groups)
    sizes = [kind.size // groups + (number < kind.size % groups) for number in range(groups)]
    assert max(sizes) == grouping.largest
    return torch.stack([torch.cat([torch.randperm(size) for size in sizes]) for _ in range(count)])


@pytest.mark.parametrize(("op", "kinds"), CASES, ids=IDS)
def test_no_result_leaves_the_bounds_of_its_op(op: Op, kinds: tuple[TensorType, ...]) -> None:
    """Whatever the inputs within their intervals, and however roundings fall."""
    torch.manual_seed(0)
    bits, checked = dropped_bits(op), 0
    rank = max(len(kind.shape) for kind in kinds)
    for number in range(16):
        known = [intervals(kind, 1 / 64 if number % 4 == 3 else 1.0) for kind in kinds]
        inputs = [samples(within, 40) for within in known]
        inputs = [codes.reshape(40, *(1,) * (rank + 1 - codes.ndim), *codes.shape[1:]) for codes in inputs]
        if isinstance(op, Pick):  # whose ranks are an order
            inputs[0] = orders(kinds[0], op.groups, 40)
            known[0] = Bounds.within(0, float(inputs[0].max()), kinds[0].shape)
        bounds = op.bounds(*known)
        if max(map(abs, bounds.hull)) > _RING:
            continue
        checked += 1
        shape = op.infer(*kinds)[0]
        assert bounds.lo.shape == bounds.hi.shape == shape
        assert (bounds.lo <= bounds.hi).all()
        drawn = torch.randint(0, 1 << bits, inputs[0].shape)
        roundings = [None, torch.tensor(0), torch.tensor((1 << bits) - 1), drawn] if bits else [None]
        for rounding in roundings:
            result = op.reference(*inputs, rounding=rounding).double()
            slack = _FLOAT * bounds.magnitude
            assert (result >= bounds.lo - slack).all()
            assert (result <= bounds.hi + slack).all()
    assert checked > 0


@given(lo=st.floats(-1e9, 1e9), width=st.floats(0, 1e9))
def test_coarse_ranges_hold_what_they_are_of_and_little_more(lo: float, width: float) -> None:
    """Ends move away by less than the grid's step of an eighth of an octave, and lie on the grid; 0 stays."""
    hi = lo + width
    low, high = coarse(lo, hi)
    assert low <= lo
    assert hi <= high
    for end, published in ((-lo, -low), (hi, high)):
        assert (published == 0) == (end == 0)
        if end:
            assert abs(published / end) ** math.copysign(1, end) < 2 ** (1 / 8) + 1e-9
            place = 8 * math.log2(abs(published))
            assert abs(place - round(place)) < 1e-6


@given(largest=st.floats(1e-9, 1e9))
def test_powers_of_two_are_the_least_above(largest: float) -> None:
    """A weight's published bound tells its octave only."""
    bound = power_of_two(largest)
    assert math.frexp(bound)[0] == 0.5
    assert bound / 2 < largest <= bound


def test_published_bounds_of_parameters_are_powers_of_two(tiny_exported: Exported) -> None:
    """Symmetric ones, so that nothing else of a weight is told."""
    for name, kind in tiny_exported.program.parameters.items():
        assert kind.qtype.lo == -kind.qtype.hi, name
        assert math.frexp(kind.qtype.hi)[0] == 0.5, name


def test_no_extreme_weight_is_published(tiny_exported: Exported) -> None:
    """Neither the least nor the largest element of a parameter is among a Program's numbers."""
    numbers: set[float] = set()

    def collect(part: object) -> None:
        if isinstance(part, dict):
            part = list(part.values())
        if isinstance(part, list):
            for item in part:
                collect(item)
        elif isinstance(part, int | float):
            numbers.add(abs(float(part)))

    collect(tiny_exported.program.to_json())
    for name, kind in tiny_exported.program.parameters.items():
        for code in (tiny_exported.weights[name].min(), tiny_exported.weights[name].max()):
            size = abs(float(code))
            assert size == 0 or math.frexp(size)[0] == 0.5 or size not in numbers, name
            assert size == 0 or math.frexp(size)[0] == 0.5 or size * kind.qtype.step not in numbers, name


def test_weights_within_their_octaves_give_the_same_program(tiny_exported: Exported) -> None:
    """What is published is a function of coarse bounds: other codes, the same file."""
    model = make_model(TINY)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 2e-5 * torch.randn_like(parameter))
    other = export_vit(model, make_images(TINY, 64))
    assert any((other.weights[name] != codes).any() for name, codes in tiny_exported.weights.items())
    assert other.program.digest == tiny_exported.program.digest


def normal(*shape: int) -> torch.Tensor:
    """Random numbers."""
    return torch.randn(shape, dtype=torch.float64)


def in_ball(free: torch.Tensor) -> torch.Tensor:
    """Rows of length 1 at most, and mostly 1."""
    return free / free.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def attained(value: Callable[[torch.Tensor], torch.Tensor], *shape: int, starts: int = 40) -> float:
    """The largest ``value`` [starts] that gradient ascent finds on free numbers [starts, \\*shape]."""
    free = normal(starts, *shape).requires_grad_(True)
    optimiser = torch.optim.Adam([free], lr=0.05)
    best = 0.0
    with torch.enable_grad():
        for _ in range(200):
            found = value(free)
            best = max(best, float(found.detach().max()))
            optimiser.zero_grad()
            (-found.sum()).backward()
            optimiser.step()
    return best


def assert_certified(bound: float, found: float, tightness: float) -> None:
    """``bound`` holds, and what is attained is no smaller part of it than ``tightness``."""
    assert tightness * bound <= found <= bound * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_balls(seed: int) -> None:
    """|sum y_i M_i| of independent rows."""
    torch.manual_seed(seed)
    matrices = normal(3, _DIM, _OUT) * torch.tensor([1.0, 3.0, 0.2])[:, None, None]

    def value(free: torch.Tensor) -> torch.Tensor:
        return torch.einsum("sbi,bio->so", in_ball(free), matrices).norm(dim=-1)

    assert_certified(sum_of_balls(list(matrices)), attained(value, 3, _DIM), 0.85)


def test_sums_of_balls_of_known_length() -> None:
    """One ball, twice the same, images at right angles, and nothing."""
    torch.manual_seed(0)
    matrix, unit = normal(_DIM, _OUT), torch.eye(4, dtype=torch.float64)
    assert sum_of_balls([matrix]) == gain(matrix)
    assert gain(unit) == pytest.approx(1)
    assert sum_of_balls([unit, unit]) == pytest.approx(2)
    assert sum_of_balls([unit[:2], unit[2:]]) == pytest.approx(2**0.5, rel=1e-6)
    assert sum_of_balls([0 * matrix]) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_boxes(seed: int) -> None:
    """|z M + offset| at every corner of the box; max-cut's relaxation is at most sqrt(pi / 2) above."""
    torch.manual_seed(seed)
    matrix, offsets = normal(8, _OUT), normal(3, _OUT)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 8)
    found = float((corners @ matrix).norm(dim=-1).max())
    assert_certified(box(matrix), found, (2 / math.pi) ** 0.5)
    moved = float(((corners @ matrix)[:, None] + offsets).norm(dim=-1).max())
    assert_certified(box(matrix, offsets), moved, 0.7)


def test_boxes_of_known_length() -> None:
    """A cube's diagonal, alone and moved along itself."""
    unit = torch.eye(4, dtype=torch.float64)
    assert box(unit) == pytest.approx(2, rel=1e-6)
    assert box(unit, torch.ones(1, 4, dtype=torch.float64)) == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_embeddings(seed: int) -> None:
    """|x W + b_n| of every token, pixels anywhere between black and white."""
    torch.manual_seed(seed)
    weight, bias = normal(6, _OUT), normal(3, _OUT)
    patches = Bounds.within(0.0, 255.0, (3, 6)).times(2.0**-8)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 255 / 256], dtype=torch.float64)] * 6)
    found = float(((corners @ weight)[:, None] + bias).norm(dim=-1).max())
    assert_certified(embedding(patches, weight, bias), found, 0.7)


@pytest.mark.parametrize("activation", [torch.nn.functional.gelu, torch.relu])
def test_activated_layers(activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """|act(y F + bias) S|, by gradient ascent; and never more than what a linear layer in between would give."""
    torch.manual_seed(0)
    first, bias, second, radius = normal(_DIM, 7), 0.3 * normal(7), normal(7, _OUT), 2.5

    def value(free: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = (activation(radius * in_ball(free) @ first + bias) @ second).norm(dim=-1)
        return found

    bound = activated(first, bias, second, radius)
    assert_certified(bound, attained(value, _DIM), 0.3)
    assert bound <= 1.01 * (radius * gain(first) + float(bias.norm())) * gain(second)


def test_linear_layers_and_written_values() -> None:
    """Both are attained."""
    torch.manual_seed(0)
    matrix, hidden = normal(6, _OUT), torch.rand(6, dtype=torch.float64)
    assert_certified(linear(matrix, 3.0), attained(lambda free: (3 * in_ball(free) @ matrix).norm(dim=-1), 6), 1 - 1e-6)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6)
    assert_certified(written(hidden, matrix), float((corners * hidden @ matrix).norm(dim=-1).max()), 0.79)


def layer_of(heads: int, rounding: float = 0.0) -> AttentionLayer:
    """Random queries, keys and values."""
    inner = heads * _HEAD
    matrices = (normal(_DIM, inner) for _ in range(3))
    biases = (0.3 * normal(inner) for _ in range(3))
    return AttentionLayer(*matrices, *biases, gain=1.5, rounding=rounding)


def test_what_is_zero_has_no_length() -> None:
    """Pruned heads, layers and pictures of nothing."""
    nothing = torch.zeros(_DIM, _OUT, dtype=torch.float64)
    assert gain(nothing) == box(nothing) == written(torch.ones(_DIM), nothing) == 0
    assert box(nothing, torch.ones(1, _OUT, dtype=torch.float64)) == pytest.approx(_OUT**0.5, rel=1e-3)
    assert activated(nothing, nothing[0], normal(_OUT, 3), 1.0) == pytest.approx(0, abs=1e-9)
    assert activated(normal(_DIM, _OUT), nothing[0], nothing.mT[:_OUT], 1.0) == pytest.approx(0, abs=1e-9)
    query, value = normal(_DIM + 1, _HEAD), normal(_DIM + 1, _OUT)
    head = ScalingHead(query, query, value)
    for part in ("query", "key", "value"):
        pruned = replace(head, **{part: 0 * getattr(head, part)})
        assert scaling([pruned], 1.5) == pytest.approx(0, abs=1e-3)
        assert scaling([head, pruned], 1.5) == pytest.approx(scaling([head], 1.5), rel=0.01)


@pytest.mark.parametrize("rounding", [0.0, 0.01])
def test_scores(rounding: float) -> None:
    """|q . k| of any two tokens, rounded or not."""
    torch.manual_seed(0)
    layer, heads = layer_of(2, rounding), 2
    bounds = scores(layer, _HEAD)
    for head in range(heads):
        columns = slice(head * _HEAD, (head + 1) * _HEAD)

        def value(free: torch.Tensor, columns: slice = columns) -> torch.Tensor:
            tokens = layer.gain * in_ball(free[..., :_DIM])
            error = rounding * torch.tanh(free[..., _DIM:])
            query = tokens[:, 0] @ layer.query[:, columns] + layer.query_bias[columns] + error[:, 0]
            key = tokens[:, 1] @ layer.key[:, columns] + layer.key_bias[columns] + error[:, 1]
            return (query * key).sum(-1).abs()

        assert_certified(float(bounds[head]), attained(value, 2, _DIM + _HEAD), 0.6)


def test_scaling_heads_together() -> None:
    """|mean_m sum_h (q_h . k_hm) u_hm|: the largest is found with equal other tokens."""
    torch.manual_seed(0)
    radius = 1.5
    heads = [ScalingHead(normal(_DIM + 1, _HEAD), normal(_DIM + 1, _HEAD), normal(_DIM + 1, _OUT)) for _ in range(3)]

    def value(free: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([radius * in_ball(free), torch.ones_like(free[..., :1])], dim=-1)
        own, other = rows[:, 0], rows[:, 1]
        mixed = [((own @ h.query) * (other @ h.key)).sum(-1, keepdim=True) * (other @ h.value) for h in heads]
        return torch.stack(mixed).sum(0).norm(dim=-1)

    assert_certified(scaling(heads, radius), attained(value, 2, _DIM), 0.35)


@pytest.mark.parametrize("local", [False, True])
def test_projections_of_mixed_heads_and_local_values(local: bool) -> None:
    """Heads that average values of other tokens with errors, one that does more, and taps of a convolution."""
    torch.manual_seed(0)
    layer, weight = layer_of(3, 0.01), normal(3 * _HEAD, _OUT)
    shares, error, count = (1.2, 0.7), 0.05, 4
    heads = [
        MixedHead(AttentionKind.SOFTMAX, slice(0, 2), shares[0], error, torch.full((_HEAD,), 9.0)),
        MixedHead(AttentionKind.RELU_SOFTMAX, slice(2, 4), shares[1], error, torch.full((_HEAD,), 9.0)),
        MixedHead(AttentionKind.SQUARE, slice(4, 6), None, 0.0, torch.tensor([0.5, 0.2], dtype=torch.float64)),
    ]
    taps = normal(2, 3 * _HEAD) if local else None
    free_values = _DIM * count + 3 * _HEAD * count + 6

    def value(free: torch.Tensor) -> torch.Tensor:
        tokens = layer.gain * in_ball(free[:, : _DIM * count].unflatten(1, (count, _DIM)))
        rounding = layer.rounding * torch.tanh(free[:, _DIM * count : -6].unflatten(1, (count, 3 * _HEAD)))
        values = tokens @ layer.value + layer.value_bias + rounding
        errors = torch.tanh(free[:, -6:])
        outputs = torch.cat(
            [
                shares[0] * values[:, 0, 0:2] + error * errors[:, 0:2],
                # weights of both signs, magnitudes adding up to the share
                shares[1] * (0.5 * values[:, 1, 2:4] - 0.5 * values[:, 2, 2:4]) + error * errors[:, 2:4],
                heads[2].largest * errors[:, 4:],
            ],
            dim=-1,
        )
        if taps is not None:
            outputs = outputs + values[:, 0] * taps[0] + values[:, 3] * taps[1]
        return (outputs @ weight).norm(dim=-1)

    assert_certified(projection(layer, heads, taps, weight), attained(value, free_values), 0.5)


def test_taps_are_the_factors_that_rows_use() -> None:
    """As often as one row uses them; borders use fewer; filters cover neighbouring columns."""
    matrices = torch.zeros(2, 2, 3, dtype=torch.float64)
    matrices[:, 0] = torch.tensor([[1.0, 2.0, 1.0], [3.0, 4.0, 3.0]])
    matrices[:, 1] = torch.tensor([[2.0, 1.0, 0.0], [4.0, 3.0, 0.0]])
    taps = taps_of(matrices, 4)
    assert sorted(map(tuple, taps.tolist())) == [(1, 1, 3, 3), (1, 1, 3, 3), (2, 2, 4, 4)]


def test_proofs_do_not_depend_on_calibration(tiny_exported: Exported) -> None:
    """With other and fewer pictures, ranges are proven all the same; splines that are precise elsewhere change them."""
    other = export_vit(make_model(TINY), make_images(TINY, 4, seed=8)).program
    assert other.ranges == tiny_exported.program.ranges == "proven"
    kinds = tiny_exported.program.types
    ratios = [kind.qtype.hi / kinds[name].qtype.hi for name, kind in other.types.items() if kind.qtype.hi > 0]
    assert 1 / 1.5 < min(ratios) <= max(ratios) < 1.5
