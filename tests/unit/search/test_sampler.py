"""Sampling of candidates within a budget."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from mpcvit.errors import ConfigError
from mpcvit.link_profile import WAN
from mpcvit.models.config import ViTConfig
from mpcvit.pricing.table import PriceTable
from mpcvit.search.proxy import Outcome, Rival
from mpcvit.search.sampler import Sampler, Sampling
from mpcvit.search.space import Space
from mpcvit.search.trial import Trial
from mpcvit.search.workers import workers
from tests.support.searches import NONE, RELU, RS, SC, config


def _counting(started: list[ViTConfig], stop_after: int = 10**9) -> Sampler:
    """A sampler whose trainings take no time."""

    def submit(one: ViTConfig, rivals: list[Rival]) -> Future[Outcome]:
        if len(started) >= stop_after:
            raise KeyboardInterrupt
        started.append(one)
        future: Future[Outcome] = Future()
        future.set_result(Outcome([0.1, 0.5 + len(started) / 100]))
        return future

    return Sampler(
        space=Space(base=config(), kinds=(RS, SC), activations=(RELU, NONE)),
        prices=PriceTable(WAN),
        storage=Path(),
        submit=submit,
        warm_start=3,
    )


def test_a_sampler_resumes(tmp_path: Path, probes: Path, prices: PriceTable) -> None:
    """What an interrupted run finished is not begun again, what was running is; no configuration comes twice."""
    storage, started = tmp_path / "trials.sqlite", list[ViTConfig]()
    with workers("1") as pool:
        first = replace(_counting(started, stop_after=3), storage=storage, prices=prices)
        with pytest.raises(KeyboardInterrupt):
            first.run(7, pool)
        seen: list[Trial] = []
        second = replace(_counting(started), storage=storage, prices=prices, on_trial=seen.append)
        found = second.run(7, pool)
    assert len(found) == len(seen) == 7
    assert len(started) == 7
    assert len(set(started)) == 7
    assert [one.config for one in found[:3]] == started[:3]


@pytest.mark.parametrize("method", list(Sampling))
def test_samplers_stay_within_the_budget(tmp_path: Path, prices: PriceTable, method: Sampling) -> None:
    """No trial costs more than the budget; one that nothing fits is refused."""
    cheapest = prices.seconds(config((SC, SC), NONE))
    costliest = prices.seconds(config((RS, RS), RELU))
    budget = (cheapest + costliest) / 2
    with workers("1") as pool:
        sampler = replace(_counting([]), storage=tmp_path / "a.sqlite", prices=prices, budget=budget, method=method)
        assert all(one.seconds <= budget for one in sampler.run(5, pool))
        sampler = replace(sampler, storage=tmp_path / "b.sqlite", budget=cheapest / 2)
        with pytest.raises(ConfigError, match="the cheapest choice's price"):
            sampler.run(1, pool)
