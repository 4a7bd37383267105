"""A multi-objective search by optuna: accuracy after a short training up, seconds of secure inference down.

Trials are kept in an SQLite file, and a search continues where it stopped: what was running is begun again, and its
training continues from its checkpoint. Only this process writes; workers train.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from mpcvit.errors import ConfigError
from mpcvit.models.config import ViTConfig
from mpcvit.pricing.table import PriceTable
from mpcvit.search.proxy import Outcome, Rival
from mpcvit.search.space import Choices, Space
from mpcvit.search.training_free import merit, select
from mpcvit.search.trial import Trial, config_digest
from mpcvit.search.workers import Workers

_STUDY = "search"
#: Candidates scored without training for every one that is tried first.
_POOL = 6
#: Choices over the budget, or seen before, that are skipped in a row before a search gives up.
_PATIENCE = 200


class Sampling(StrEnum):
    """Who proposes."""

    NSGA2 = "nsga2"
    TPE = "tpe"


@dataclass(kw_only=True)
class Sampler:
    """A search over ``space``.

    Attributes:
        storage: an SQLite file, made if it does not exist.
        submit: begins the training of a configuration on a worker. Rivals are what finished before.
        method: who proposes once the first trials are done.
        warm_start: number of first trials: the most expensive choice, the cheapest, and the best by merit without
            training.
        budget: seconds that no trial may cost, or None.
        seed: of all proposals.
        on_trial: called with each finished trial, also those of an earlier run.
        say: called with what is going on.
    """

    space: Space
    prices: PriceTable
    storage: Path
    submit: Callable[[ViTConfig, list[Rival]], Future[Outcome]]
    method: Sampling = Sampling.NSGA2
    warm_start: int = 8
    budget: float | None = None
    seed: int = 0
    on_trial: Callable[[Trial], None] = lambda trial: None
    say: Callable[[str], None] = lambda what: None
    _rivals: list[Rival] = field(default_factory=list, init=False)

    def run(self, trials: int, workers: Workers) -> list[Trial]:
        """Return at least ``trials`` trials, those of earlier runs included.

        Raises:
            ConfigError: the cheapest choice costs more than the budget.
        """
        self.storage.parent.mkdir(parents=True, exist_ok=True)
        study = self._study()
        found: dict[str, Trial] = {}
        for trial in self._earlier(study):
            found[config_digest(trial.config)] = trial
            self.on_trial(trial)
        running: dict[Future[Outcome], tuple[optuna.Trial, ViTConfig]] = {}
        while len(found) < trials or running:
            while len(running) < workers.slots and len(found) + len(running) < trials:
                asked, config = self._ask(study, {*found, *(config_digest(config) for _, config in running.values())})
                self.say(f"training trial {asked.number}")
                running[self.submit(config, self._rivals)] = asked, config
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                asked, config = running.pop(future)
                trial = self._tell(study, asked, config, future.result())
                found[config_digest(config)] = trial
                self.on_trial(trial)
        return list(found.values())

    def _study(self) -> optuna.Study:
        """Return the study on disk, with what was running enqueued again; a new one with its first trials enqueued."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=_STUDY,
            storage=f"sqlite:///{self.storage}",
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        earlier = study.get_trials(deepcopy=False)
        # proposals depend on the seed and on what was tried, not on when a search was interrupted
        study.sampler = self._proposer(self.seed + len(earlier))
        if not earlier:
            for chosen in self._first():
                study.enqueue_trial(chosen)
        for trial in earlier:
            if trial.state is TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params)
        return study

    def _proposer(self, seed: int) -> optuna.samplers.BaseSampler:
        if self.method is Sampling.TPE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.warm_start, multivariate=True)
        return optuna.samplers.NSGAIISampler(population_size=max(self.warm_start, 4), seed=seed)

    def _first(self) -> Iterator[Choices]:
        """Yield both ends of the space, and one good choice per price band between them."""
        ends = self.space.ends()
        self._check_budget(ends[-1])
        yield from (end for end in ends if self._affordable(self.space.build(end)))
        rng = np.random.default_rng(self.seed)
        wanted = max(self.warm_start - len(ends), 0)
        pool = [self.space.random(rng) for _ in range(_POOL * wanted)]
        pool = [chosen for chosen in pool if self._affordable(self.space.build(chosen))]
        if pool:
            self.say(f"scoring {len(pool)} configurations without training")
            configs = [self.space.build(chosen) for chosen in pool]
            seconds = [self.prices.seconds(config) for config in configs]
            yield from (pool[index] for index in select([merit(config) for config in configs], seconds, wanted))

    def _check_budget(self, cheapest: Choices) -> None:
        least = self.prices.seconds(self.space.build(cheapest))
        if self.budget is not None and least > self.budget:
            raise ConfigError(
                f"a budget of {self.budget:g} s",
                expected=f"at least {least:.3g} s on '{self.prices.profile.name}', the cheapest choice's price",
                remedy="Raise --budget, or choose another preset.",
            )

    def _affordable(self, config: ViTConfig) -> bool:
        return self.budget is None or self.prices.seconds(config) <= self.budget

    def _ask(self, study: optuna.Study, known: set[str]) -> tuple[optuna.Trial, ViTConfig]:
        """Return the next configuration to train, neither over the budget nor one of the known."""
        rng = np.random.default_rng([self.seed, len(known)])
        for _ in range(_PATIENCE):
            asked = study.ask()
            config = self.space.build(self.space.suggest(asked))
            if self._affordable(config) and config_digest(config) not in known:
                return asked, config
            study.tell(asked, state=TrialState.PRUNED)
            study.enqueue_trial(self.space.random(rng))  # a sampler that repeats itself needs a push
        raise ConfigError(
            f"{_PATIENCE} choices in a row that were over the budget or tried before",
            expected="a larger space, or fewer trials",
            remedy=f"Lower --trials: {len(known)} configurations were tried.",
        )

    def _tell(self, study: optuna.Study, asked: optuna.Trial, config: ViTConfig, outcome: Outcome) -> Trial:
        price = self.prices.price(config)
        asked.set_user_attr("curve", outcome.curve)
        study.tell(asked, [outcome.accuracy, price.seconds])
        self._rivals.append(Rival(price.seconds, tuple(outcome.curve)))
        return self._trial(asked.number, config, outcome)

    def _earlier(self, study: optuna.Study) -> Iterator[Trial]:
        """Yield the finished trials of earlier runs."""
        for finished in study.get_trials(states=[TrialState.COMPLETE]):
            outcome = Outcome(list(finished.user_attrs["curve"]))
            config = self.space.build(finished.params)
            self._rivals.append(Rival(self.prices.seconds(config), tuple(outcome.curve)))
            yield self._trial(finished.number, config, outcome)

    def _trial(self, number: int, config: ViTConfig, outcome: Outcome) -> Trial:
        return Trial(
            name=f"trial{number}",
            method=self.method.value,
            config=config,
            accuracy=outcome.accuracy,
            epochs=len(outcome.curve),
            price=self.prices.price(config),
        )
