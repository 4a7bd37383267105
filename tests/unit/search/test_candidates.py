"""Which candidates are worth training, and which of the trained are best."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from mpcvit.errors import ConfigError
from mpcvit.models.kinds import Norm
from mpcvit.search.pareto import pareto_set
from mpcvit.search.proxy import Rival, hopeless
from mpcvit.search.space import Space
from mpcvit.search.training_free import Merit, merit, scores, select
from tests.support.columns import column
from tests.support.searches import GELU, NONE, RELU, SC, SM, config


def test_pareto_set_by_brute_force() -> None:
    """The sweep finds exactly what no other point dominates, one of equals."""
    rng = np.random.default_rng(0)
    points = [(float(a), float(s)) for a, s in rng.integers(0, 12, (80, 2))]

    def dominated(one: tuple[float, float]) -> bool:
        return any(a >= one[0] and s <= one[1] and (a, s) != one for a, s in points)

    found = pareto_set(points, lambda point: point[0], lambda point: point[1])
    assert sorted(found) == sorted({point for point in points if not dominated(point)})
    assert [s for _, s in found] == sorted(s for _, s in found)
    assert pareto_set([], lambda point: point[0], lambda point: point[1]) == []


def test_hopeless_trials_are_given_up() -> None:
    """Only behind a rival that is no more expensive, clearly, and not in the first epochs."""
    rival = (Rival(1.0, (0.3, 0.7, 0.7, 0.8)),)
    assert hopeless([0.2, 0.3], 4, 1.0, rival)
    assert not hopeless([0.2], 4, 1.0, rival)
    assert not hopeless([0.2, 0.55], 4, 1.0, rival)
    assert not hopeless([0.2, 0.3], 4, 0.9, rival)


def test_merit_without_training() -> None:
    """Scores are reproducible, leave the random state alone, and a selection covers all prices."""
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again = merit(config()), merit(config())
    assert first == again
    assert torch.equal(state, torch.get_rng_state())
    assert math.isfinite(first.log_length)
    assert first.log_condition > 0
    merits = [Merit(log_length=float(i % 3), log_condition=float(i % 2)) for i in range(8)]
    assert len(scores(merits, [1.0] * 8)) == 8
    assert scores(merits[:2], [1.0, 100.0])[1] < scores(merits[:2], [1.0, 1.0])[1]
    chosen = select(merits, [float(i) + 1 for i in range(8)], 4)
    assert [index // 2 for index in chosen] == [0, 1, 2, 3]


def test_a_space_builds_what_it_says() -> None:
    """Ends are the most expensive and cheapest choice; heads come in order; norms and widths are applied."""
    space = Space(
        base=config(), kinds=(SM, SC), activations=(GELU, NONE), norms=("layernorm", "batchnorm_mlp"), dims=(8, 16)
    )
    costliest, cheapest = map(space.build, space.ends())
    assert (costliest.dim, cheapest.dim) == (16, 8)
    assert set(itertools.chain(*column(costliest, "heads"))) == {SM}
    assert column(cheapest, "activation") == (NONE, NONE)
    assert column(cheapest, "norms") == ((Norm.LAYERNORM, Norm.BATCHNORM),) * 2
    chosen = space.random(np.random.default_rng(0)) | {"block0.head0": "scaling", "block0.head1": "softmax"}
    assert space.build(chosen).blocks[0].heads == (SM, SC)
    with pytest.raises(ConfigError):
        Space(base=config(), kinds=(), activations=(RELU,))
