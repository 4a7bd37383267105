"""What rewrites a traced graph: the function stays, and what it is for happens."""

from __future__ import annotations

import torch
from torch import nn

from mpcvit.export.traced.graph import TracedGraph, arguments_of, op_of
from mpcvit.export.traced.passes import PASSES
from mpcvit.export.traced.passes.mean_centring import CENTRED
from mpcvit.export.traced.trace import trace
from tests.support.traced import Function, enlivened, pictures

SIZE = 8


def _rewritten(module: nn.Module) -> TracedGraph:
    """The graph of a module behind all passes, which computes the same."""
    traced = trace(module, (3, SIZE, SIZE))
    for rewrite in PASSES:
        rewrite(traced)
    picture = pictures(SIZE, 1)
    values = {**traced.constants, traced.picture: picture.double()}
    for node in traced.graph.nodes:
        if node.op == "call_function" and node not in values:
            args, kwargs = (torch.fx.node.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
            values[node] = node.target(*args, **kwargs)
    with torch.no_grad():
        assert torch.allclose(values[traced.output].float(), module(picture), atol=1e-5)
    return traced


def _ops(traced: TracedGraph) -> list[str]:
    """The ops that depend on the picture, in order."""
    calls = [node for node in traced.graph.nodes if node.op == "call_function" and node not in traced.constants]
    return [op_of(node) for node in calls]


def test_batch_norms_and_layer_scales_become_part_of_layers() -> None:
    """A batch norm behind a convolution, factors per channel behind one and behind a linear layer."""
    module = Function(
        lambda m, x: m.head(1.5 * torch.ones(3) * m.scale * m.inner(m.norm(m.conv(x)).flatten(2).mean(-1))),
        conv=nn.Conv2d(3, 4, 3, bias=False),
        norm=nn.BatchNorm2d(4),
        inner=nn.Linear(4, 3),
        head=nn.Linear(3, 2),
    )
    module.scale = nn.Parameter(torch.ones(3))
    assert _ops(_rewritten(enlivened(module))) == ["conv2d", "view", "mean", "linear", "linear"]


def test_identities_and_constants_are_gone() -> None:
    """Dropout, copies, expansions to the same size, casts; and what is the same for every picture."""

    def function(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        table = torch.arange(16).view(4, 4) % 3
        bias = module.places.weight[table.view(-1)].view(1, 4, 4, 2).permute(0, 3, 1, 2).contiguous()
        x = nn.functional.dropout(module.conv(x), 0.5, module.training).float().contiguous().expand(-1, -1, -1, -1)
        return module.head((x + bias).reshape(len(x), 32))

    layers = {"conv": nn.Conv2d(3, 2, 2, 2), "places": nn.Embedding(3, 2), "head": nn.Linear(32, 2)}
    assert _ops(_rewritten(enlivened(Function(function, **layers)))) == ["conv2d", "add", "view", "linear"]


def test_padding_that_shifts_is_no_identity() -> None:
    """What is cut off at one end comes in as zeros at the other: the size stays, the values do not."""
    module = Function(
        lambda m, x: m.head(nn.functional.pad(m.conv(x), (1, -1)).flatten(1)),
        conv=nn.Conv2d(3, 2, 2, 2),
        head=nn.Linear(32, 2),
    )
    assert "pad" in _ops(_rewritten(enlivened(module)))


def test_factors_that_make_the_shape_larger_stay() -> None:
    """They are no factors of a layer's outputs."""
    module = Function(
        lambda m, x: m.head((m.layer(x.flatten(1)) * m.scale).flatten()[None]),
        layer=nn.Linear(3 * SIZE * SIZE, 4),
        head=nn.Linear(8, 2),
    )
    module.scale = nn.Parameter(torch.ones(2, 4))
    assert "mul" in _ops(_rewritten(enlivened(module)))


def test_vectors_that_are_divided_by_their_lengths_become_one_op() -> None:
    """Lengths of something else stay a division."""

    def quotients(module: nn.Module) -> list[str]:
        function = Function(lambda m, x: m.head(module(m.conv(x)).flatten(1)), conv=nn.Conv2d(3, 2, 2, 2), head=head)
        return [op for op in _ops(_rewritten(enlivened(function))) if op in ("div", "unit_rows")]

    head = nn.Linear(32, 2)
    one = Function(lambda m, x: nn.functional.normalize(x, dim=1))
    other = Function(lambda m, x: x / torch.linalg.vector_norm(x.abs() + 1, dim=1, keepdim=True))
    assert quotients(one) == ["unit_rows"]
    assert quotients(other) == ["div"]


class Blocks(nn.Module):
    """A stream of tokens behind a class token, read by norms alone, or not."""

    def __init__(self, *, leaks: bool = False, grouped: bool = False, plus: float = 0.0) -> None:
        super().__init__()
        self.leaks, self.plus = leaks, plus
        self.stem = nn.Conv2d(3, 6, 2, 2, groups=3 if grouped else 1)
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(3))
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.places, self.head = nn.Parameter(torch.zeros(1, 17, 6)), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        x = x + self.plus if self.plus else x
        for norm, layer in zip(self.norms[:2], self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(self.norms[2](x[:, 0]) + (x[:, 1] if self.leaks else 0))


def _centred(traced: TracedGraph) -> list[bool]:
    return [node.meta.get(CENTRED, False) for node in traced.graph.nodes if op_of(node) == "layer_norm"]


def test_what_norms_alone_read_loses_its_mean() -> None:
    """The stem, the class token, the position embedding and every layer that writes the stream are centred."""
    traced = _rewritten(enlivened(Blocks()))
    assert _centred(traced) == [True, True, True]
    layers = [node for node in traced.graph.nodes if op_of(node) in ("conv2d", "linear")]
    for node in layers[:3]:
        assert traced.constants[arguments_of(node)["weight"]].mean(0).abs().max() < 1e-12
        assert abs(traced.constants[arguments_of(node)["bias"]].mean()) < 1e-12
    assert traced.constants[arguments_of(layers[3])["weight"]].mean(0).abs().max() > 1e-3


def test_a_stream_that_something_else_reads_keeps_its_mean() -> None:
    """One reader of the mean is enough; each norm then takes it out by itself."""
    assert _centred(_rewritten(enlivened(Blocks(leaks=True)))) == [False, False, False]


def test_groups_of_channels_have_no_mean_in_common() -> None:
    """No weights of a convolution in groups take the mean over all channels away."""
    assert _centred(_rewritten(enlivened(Blocks(grouped=True)))) == [False, False, False]


def test_a_number_has_a_mean() -> None:
    """A stream to which one is added keeps its mean."""
    assert _centred(_rewritten(enlivened(Blocks(plus=0.5)))) == [False, False, False]
