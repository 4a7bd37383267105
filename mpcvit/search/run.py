"""A whole search: its stages one after the other; it continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError
from mpcvit.link_profile import LinkProfile
from mpcvit.models.config import ViTConfig
from mpcvit.models.vit import VisionTransformer
from mpcvit.pricing.table import PriceTable
from mpcvit.search.anneal import Annealing, anneal
from mpcvit.search.discretise import largest_within
from mpcvit.search.found import Found
from mpcvit.search.linearise import gate_weights, gates_by_mu
from mpcvit.search.presets import Preset, SearchStage
from mpcvit.search.proxy import Job, Outcome, Rival, quiet, train
from mpcvit.search.relaxed import Group, Penalised, RelaxedViT
from mpcvit.search.sampler import Sampler
from mpcvit.search.supernet import blocks_by_mu, head_weights, heads_by_mu
from mpcvit.search.synthetic import synthetic_pictures
from mpcvit.search.trial import Trial
from mpcvit.search.workers import Workers
from mpcvit.store.codec import from_document, to_document
from mpcvit.store.trained import FLOAT_FILE, load_model, model_digest
from mpcvit.store.whole_file import write_whole
from mpcvit.train.config import TrainConfig
from mpcvit.train.objectives.cross_entropy import CrossEntropy
from mpcvit.train.objectives.make import make_objective
from mpcvit.train.recorder import LOG_FILE
from mpcvit.train.run import begin, build_model
from mpcvit.train.trainer import fit

IDENTITY_FILE = "search.json"
#: Steps of mu that are looked at for the largest model within a budget.
_MU_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search in one folder.

    Attributes:
        preset: what is searched, and how.
        folder: gets everything; a search continues from what is there.
        profile: the network that prices are for.
        images: training pictures; some are held out to measure accuracy.
        budget: seconds that no candidate may cost, or None.
        model: folder of a trained model: what annealing starts from, and the teacher of candidates elsewhere.
        prices_folder: where prices' probes are kept.
        device: as ``fit`` takes it.
        on_trial, say: called with every finished trial, and with what is going on.
        report: called with all that was found and the folder, after every trial and at the end.
    """

    preset: Preset
    folder: Path
    profile: LinkProfile
    images: ImageSet
    budget: float | None = None
    model: Path | None = None
    prices_folder: Path | None = None
    device: str = "auto"
    on_trial: Callable[[Trial], None] = lambda trial: None
    report: Callable[[Found, Path], None] = lambda found, folder: None
    say: Callable[[str], None] = lambda what: None

    @cached_property
    def base(self) -> ViTConfig:
        """The preset's architecture for these pictures."""
        size = self.images.images.shape[1]
        return replace(self.preset.base, image_size=size, classes=len(self.images.classes))

    @cached_property
    def prices(self) -> PriceTable:
        """Prices on the profile."""
        return PriceTable(
            self.profile,
            self.prices_folder or self.folder / "prices",
            lambda what: self.say(f"pricing {what}"),
            self.preset.precision,
        )

    def run(self, workers: Workers) -> Found:
        """Search to the end and return all that was found.

        Raises:
            ConfigError: the folder holds another search, or the preset does not fit data, model or budget.
            ModelFileError: the model is not in its folder.
        """
        self._claim()
        trials: dict[str, Trial] = {}

        def found(trial: Trial) -> None:
            trials[trial.name] = trial
            self.report(self._found(trials), self.folder)
            self.on_trial(trial)

        stages = {
            SearchStage.SUPERNET: self._supernet,
            SearchStage.ANNEAL: self._anneal,
            SearchStage.SAMPLE: self._sample,
        }
        for stage in self.preset.stages:
            stages[stage](found, workers)
        all_found = self._found(trials)
        self.report(all_found, self.folder)
        return all_found

    def _claim(self) -> None:
        """Write what this search is, or see that the folder is of the same one. The number of trials may change."""
        preset = self.preset
        identity = {
            "preset": preset.name,
            "network": self.profile.name,
            "budget": self.budget,
            "base": to_document(self.base),
            "training": to_document(preset.training),
            "search": to_document(preset.search),
            "pictures": len(self.images),
            "model": None if self.model is None else model_digest(self.model),
        }
        path = self.folder / IDENTITY_FILE
        if path.exists() and _known(json.loads(path.read_text())) != _known(identity):
            raise ConfigError(
                f"another search in {self.folder}",
                expected="the preset, data, network, budget, model and epochs that it began with",
                remedy="Choose another folder with --out, or repeat the first command to continue.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(identity, indent=1) + "\n")

    def _found(self, trials: Mapping[str, Trial]) -> Found:
        facts = (
            ("pictures", f"{len(self.images):,} of {len(self.images.classes)} classes"),
            ("held out", f"{self.preset.training.validation:,}"),
        )
        return Found(
            title=self.preset.name,
            profile=self.profile,
            trials=list(trials.values()),
            budget=self.budget,
            facts=facts,
        )

    # -- candidates ------------------------------------------------------------------------------------------------

    def _job(self, config: ViTConfig, rivals: list[Rival]) -> Job:
        return Job(
            config=config,
            training=self.preset.training,
            images=self.images,
            folder=self.folder / "trials",
            device=self.device,
            teacher=self.model,
            seconds=self.prices.seconds(config),
            rivals=tuple(rivals),
        )

    def _try_all(
        self, choices: list[tuple[str, ViTConfig]], method: str, found: Callable[[Trial], None], workers: Workers
    ) -> None:
        """Train every choice anew."""
        futures: dict[Future[Outcome], tuple[str, ViTConfig]] = {}
        for name, config in choices:
            self.say(f"training {name}")
            futures[workers.executor.submit(train, self._job(config, []))] = name, config
        for future in as_completed(futures):
            (name, config), outcome = futures[future], future.result()
            found(self._trial(name, method, config, outcome.accuracy, len(outcome.curve)))

    def _trial(self, name: str, method: str, config: ViTConfig, accuracy: float, epochs: int) -> Trial:
        price = self.prices.price(config)
        return Trial(name=name, method=method, config=config, accuracy=accuracy, epochs=epochs, price=price)

    # -- stages ----------------------------------------------------------------------------------------------------

    def _supernet(self, found: Callable[[Trial], None], workers: Workers) -> None:
        """Relax, train, discretise, train anew."""
        preset, folder = self.preset, self.folder / "supernet"
        training = replace(preset.search, model="supernet", architecture=self.base)
        teacher = None if self.model is None else load_model(self.model)
        build_model(training, self.base.classes)  # seeds first weights
        model = self._relaxed(None)
        begin(model, training, teacher, self.images)
        model.penalties.fill_(preset.penalty)
        base = make_objective(training, model.config, teacher)
        objective = Penalised(model=model, base=base, weights=self._weights(model))

        def after_epoch(done: int, trained: nn.Module, line: Mapping[str, float]) -> None:
            self.say(f"supernet: epoch {done} of {training.total_epochs}, validation {line['validation']:.3f}")

        with quiet(folder):
            fit(
                model,
                training,
                self.images,
                folder,
                objective=objective,
                device=self.device,
                workers=0,
                after_epoch=after_epoch,
            )
        model.cpu().project()
        self._write_switches(model, folder)
        choices = {self._chosen(model, mu): f"mu{mu:g}" for mu in sorted(preset.mus, reverse=True)}
        for mu in sorted(preset.block_mus, reverse=True):
            config = _with_heads_of(self._chosen(model, mu), blocks_by_mu(model, mu))
            choices.setdefault(config, f"blocks{mu:g}")
        if self.budget is not None:
            choices = {config: name for config, name in choices.items() if self.prices.seconds(config) <= self.budget}
            choices.setdefault(self._chosen(model, self._mu_within(model)), "budget")
        self._try_all([(name, config) for config, name in choices.items()], SearchStage.SUPERNET, found, workers)

    def _anneal(self, found: Callable[[Trial], None], workers: Workers) -> None:
        """Switch operators of the trained model off, once per mu."""
        pretrained = self._pretrained()
        mus = list(self.preset.mus)
        if self.budget is not None:
            mus = [self._mu_within(self._relaxed(pretrained))]
        settings = Annealing(
            training=self.preset.search,
            fine_tuning=self.preset.training,
            penalty=self.preset.penalty,
            warmup_epochs=min(5, self.preset.search.epochs // 10),
            device=self.device,
        )
        for mu in mus:

            def after_epoch(stage: str, done: int, line: Mapping[str, float], mu: float = mu) -> None:
                self.say(f"mu {mu:g}: {stage}, epoch {done}, validation {line['validation']:.3f}")

            folder = self.folder / f"anneal{mu:g}"
            student = anneal(
                pretrained,
                lambda: self._relaxed(pretrained),
                self._weights(self._relaxed(pretrained)),
                mu,
                self.images,
                folder,
                settings,
                after_epoch,
            )
            last = json.loads((folder / "tuned" / LOG_FILE).read_text().splitlines()[-1])
            epochs = self.preset.training.total_epochs
            found(self._trial(f"mu{mu:g}", SearchStage.ANNEAL, student.config, float(last["validation"]), epochs))

    def _sample(self, found: Callable[[Trial], None], workers: Workers) -> None:
        """Try configurations that optuna proposes."""
        preset = self.preset
        if preset.space is None:
            raise ConfigError(
                f"preset '{preset.name}' without a space", expected="a space to sample", remedy="Give it one."
            )

        def submit(config: ViTConfig, rivals: list[Rival]) -> Future[Outcome]:
            return workers.executor.submit(train, self._job(config, rivals))

        Sampler(
            space=replace(preset.space, base=self.base),
            prices=self.prices,
            storage=self.folder / "trials.sqlite",
            submit=submit,
            method=preset.method,
            warm_start=preset.warm_start,
            budget=self.budget,
            seed=preset.training.seed,
            on_trial=found,
            say=self.say,
        ).run(preset.trials, workers)

    # -- relaxed models --------------------------------------------------------------------------------------------

    def _relaxed(self, pretrained: VisionTransformer | None) -> RelaxedViT:
        preset = self.preset
        return RelaxedViT(
            self.base if pretrained is None else pretrained.config,
            pair=preset.pair,
            gate_axis=preset.gate_axis,
            weights=None if pretrained is None else pretrained.state_dict(),
            drop_path_rate=preset.search.drop_path,
        )

    def _weights(self, model: RelaxedViT) -> dict[Group, list[list[float]]]:
        """Return the weights of the L1 terms."""
        if not self.preset.weighted:
            return {group: [[1.0]] * len(switches) for group, switches in model.switches.items()}
        weights: dict[Group, list[list[float]]] = {}
        if model.head_switches:
            weights["heads"] = head_weights(self.prices, model.config, model.pair)
        if model.gate_switches:
            weights["gates"] = gate_weights(self.prices, model.config)
        return weights

    def _chosen(self, model: RelaxedViT, mu: float) -> ViTConfig:
        """Return the configuration that keeps the share ``mu`` of each group of switches."""
        config = model.config
        if model.gate_switches:
            config = gates_by_mu(model, mu)
        if model.head_switches:
            config = _with_heads_of(config, heads_by_mu(model, mu))
        return config

    def _mu_within(self, model: RelaxedViT) -> float:
        """Return the largest share that fits the budget, in percent steps.

        Raises:
            ConfigError: not even nothing does.
        """
        budget = self.budget
        assert budget is not None  # noqa: S101 - asked for only with one
        least = self.prices.seconds(self._chosen(model, 0.0))
        if least > budget:
            raise ConfigError(
                f"a budget of {budget:g} s",
                expected=f"at least {least:.3g} s on '{self.profile.name}'",
                remedy="Raise --budget, or choose another preset.",
            )
        steps = largest_within(
            _MU_STEPS, budget, lambda count: self.prices.seconds(self._chosen(model, count / _MU_STEPS))
        )
        return steps / _MU_STEPS

    def _pretrained(self) -> VisionTransformer:
        """Return the model given, or one that is trained now."""
        if self.model is not None:
            model = load_model(self.model)
            expected = (self.base.image_size, self.base.classes)
            if (model.config.image_size, model.config.classes) != expected:
                raise ConfigError(
                    f"a model for {model.config.classes} classes of {model.config.image_size} pixels",
                    expected=f"{expected[1]} classes of {expected[0]} pixels, as the pictures have",
                    remedy="Choose the model that was trained on this data.",
                )
            return model
        folder = self.folder / "base"
        if not (folder / FLOAT_FILE).exists():
            self.say("training the model to start from")
            training = replace(self.preset.training, model="base", architecture=self.base)
            with quiet(folder):
                fit(
                    build_model(training, self.base.classes),
                    training,
                    self.images,
                    folder,
                    objective=CrossEntropy(training.smoothing),
                    device=self.device,
                    workers=0,
                )
        return load_model(folder)

    @staticmethod
    def _write_switches(model: RelaxedViT, folder: Path) -> None:
        """Write what the relaxed training ended with, for people."""
        values: dict[str, Any] = {
            group: [[round(value, 4) for value in switch.tolist()] for switch in switches]
            for group, switches in model.switches.items()
        }
        (folder / "switches.json").write_text(json.dumps(values, indent=1) + "\n")


def pictures_for(preset: Preset) -> ImageSet:
    """Return the preset's synthetic pictures.

    Raises:
        ConfigError: it has none.
    """
    if not preset.pictures:
        raise ConfigError(
            f"preset '{preset.name}' without pictures",
            expected="an image folder with a 'train' part",
            remedy="Give it with --data; 'mpcvit data cifar10 FOLDER' fetches one.",
        )
    return synthetic_pictures(preset.pictures, preset.base.image_size)


def _known(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what a search is, its configurations read; those of an earlier version are the same configurations."""
    kinds = {"base": ViTConfig, "training": TrainConfig, "search": TrainConfig}
    return {**identity, **{name: from_document(kind, identity[name]) for name, kind in kinds.items()}}


def _with_heads_of(config: ViTConfig, other: ViTConfig) -> ViTConfig:
    return config.with_blocks(heads=[block.heads for block in other.blocks])
