"""Whole searches of tiny models, and the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ConfigError, ModelFileError
from mpcvit.link_profile import WAN
from mpcvit.models.kinds import AttentionKind, GateAxis
from mpcvit.models.vit import VisionTransformer
from mpcvit.reports.search import REPORT_FILE, write
from mpcvit.search.presets import PRESETS, Preset, SearchStage
from mpcvit.search.run import Search
from mpcvit.search.space import Space
from mpcvit.search.synthetic import synthetic_pictures
from mpcvit.search.workers import workers
from mpcvit.store.trained import load_model, save_model
from mpcvit.train.config import ObjectiveName, Pipeline, Start, TrainConfig
from tests.support.columns import column, varied
from tests.support.searches import COARSE, NONE, RELU, RS, SC, SM, config

_TRAINING = TrainConfig(
    model="test", epochs=2, batch_size=16, lr=2e-3, pipeline=Pipeline.TENSORS, crop_scale=1.0, validation=16
)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """A few pictures of shapes."""
    return synthetic_pictures(64, 8)


def _tiny(stages: tuple[SearchStage, ...], heads: AttentionKind = RS) -> Preset:
    """A search of seconds."""
    return Preset(
        name="tiny",
        base=config((heads, heads)),
        stages=stages,
        training=_TRAINING,
        search=_TRAINING,
        penalty=1e-2,
        pair=(heads, SC),
        gate_axis=GateAxis.TOKEN,
        mus=(0.5,),
        space=Space(base=config(), kinds=(RS, SC), activations=(RELU, NONE)),
        trials=2,
        warm_start=2,
        precision=COARSE,
        pictures=64,
    )


def test_a_search_ends_with_a_report_and_resumes(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """Supernet and sampler; the second time nothing is trained; another search in the folder is refused."""
    wanted = Search(
        preset=_tiny((SearchStage.SUPERNET, SearchStage.SAMPLE)),
        folder=tmp_path,
        profile=WAN,
        images=images,
        prices_folder=probes,
        device="cpu",
        report=write,
    )
    with workers("1") as pool:
        report = wanted.run(pool)
        assert [one.name for one in report.trials] == ["mu0.5", "trial0", "trial1"]
        assert (tmp_path / REPORT_FILE).exists()
        kept = report.trials[0].config
        assert sum(kind is RS for block in column(kept, "heads") for kind in block) == 2
        outcomes = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome.json")}
        assert len(outcomes) == 3
        again = replace(wanted, preset=replace(wanted.preset, trials=3)).run(pool)
        assert again.trials[:3] == report.trials
        assert len(again.trials) == 4
        assert all(path.stat().st_mtime_ns == when for path, when in outcomes.items())
        with pytest.raises(ConfigError, match="another search"):
            replace(wanted, budget=5.0).run(pool)


def test_a_search_with_another_model_is_another_search(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """A folder is refused to a model with other weights, to one where there was none, and to none where there was one.

    What counts is what is in the model's files, not where they are.
    """
    base = config((RS, RS))
    for number in range(2):
        torch.manual_seed(number)
        save_model(VisionTransformer(base), tmp_path / f"model{number}")
    shutil.copytree(tmp_path / "model0", tmp_path / "copy")
    search = Search(
        preset=_tiny(()),
        folder=tmp_path / "search",
        profile=WAN,
        images=images,
        model=tmp_path / "model0",
        prices_folder=probes,
    )
    with workers("1") as pool:
        search.run(pool)
        replace(search, model=tmp_path / "copy").run(pool)
        for other in (tmp_path / "model1", None):
            with pytest.raises(ConfigError, match="another search"):
                replace(search, model=other).run(pool)
        alone = replace(search, model=None, folder=tmp_path / "alone")
        alone.run(pool)
        with pytest.raises(ConfigError, match="another search"):
            replace(alone, model=tmp_path / "model0").run(pool)
        with pytest.raises(ModelFileError, match=r"config\.json"):
            replace(search, model=tmp_path / "nowhere").run(pool)


def _taught_search(wanted: Preset, folder: Path, probes: Path, images: ImageSet) -> Search:
    """A search in ``folder/search`` with the teacher in ``folder/teacher``."""
    return Search(
        preset=wanted,
        folder=folder / "search",
        profile=WAN,
        images=images,
        model=folder / "teacher",
        prices_folder=probes,
        device="cpu",
    )


def test_a_search_begins_at_the_teachers_weights(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """Where the preset says so: supernet and candidates; without a teacher it is refused."""
    base = config((RS, RS))
    teacher = VisionTransformer(varied(base, heads=((SM, SM),) * 2))
    save_model(teacher, tmp_path / "teacher")
    # a learning rate of 0 leaves first weights as they are
    taught = replace(_TRAINING, epochs=1, lr=0.0, objective=ObjectiveName.DISTILLATION, start=Start.TEACHER)
    small = replace(_tiny((SearchStage.SUPERNET,)), training=taught, search=taught, gate_axis=None)
    search = _taught_search(small, tmp_path, probes, images)
    with workers("1") as pool:
        search.run(pool)
        (trial,) = (path.parent for path in (tmp_path / "search" / "trials").rglob("model.safetensors"))
        found = [load_model(trial).state_dict(), load_file(tmp_path / "search" / "supernet" / "model.safetensors")]
        for weights in found:
            for name, wanted in teacher.state_dict().items():
                assert torch.equal(weights[name], wanted), name
        with pytest.raises(ConfigError, match="without a teacher"):
            replace(search, model=None, folder=tmp_path / "alone").run(pool)


def test_candidates_are_trained_in_the_stages_of_their_recipe(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """A run that comes first has the candidate's architecture, too; without a teacher there is none."""
    base = config((RS, RS))
    save_model(VisionTransformer(base), tmp_path / "teacher")
    first = replace(_TRAINING, epochs=1, objective=ObjectiveName.MPCFORMER_HIDDEN, start=Start.TEACHER)
    taught = replace(first, objective=ObjectiveName.MPCFORMER_LOGITS, start=Start.FRESH, before=first)
    wanted = replace(_tiny((SearchStage.SUPERNET,)), training=taught, gate_axis=None)
    search = _taught_search(wanted, tmp_path, probes, images)
    with workers("1") as pool:
        (trial,) = search.run(pool).trials
        replace(search, model=None, folder=tmp_path / "alone").run(pool)
    (stage,) = (tmp_path / "search" / "trials").rglob("before/model.safetensors")
    for folder, name in ((stage.parent, "mpcformer_hidden"), (stage.parent.parent, "mpcformer_logits")):
        assert json.loads((folder / "train.json").read_text())["config"]["objective"] == name
        assert load_model(folder).config == trial.config
    assert not list((tmp_path / "alone").rglob("before"))


def test_annealing_ends_with_a_tuned_model(tmp_path: Path, probes: Path, images: ImageSet) -> None:
    """The base model is trained first; half the heads and tokens stay; the tuned model can be loaded."""
    search = Search(
        preset=_tiny((SearchStage.ANNEAL,), SM),
        folder=tmp_path,
        profile=WAN,
        images=images,
        prices_folder=probes,
        device="cpu",
    )
    with workers("1") as pool:
        (found,) = search.run(pool).trials
    model = load_model(tmp_path / "anneal0.5" / "tuned")
    assert model.config == found.config
    assert sum(kind is SM for block in column(found.config, "heads") for kind in block) == 2


def test_smoke_from_the_command_line(tmp_path: Path, probes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``mpcvit search`` with the smallest numbers: a JSON object on standard output, the report in the folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = tmp_path / ".cache" / "mpcvit" / "prices"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(probes)
    smallest = replace(_tiny((SearchStage.SUPERNET, SearchStage.SAMPLE)), name="smoke", gate_axis=None)
    monkeypatch.setitem(PRESETS, "smoke", lambda: smallest)
    command = ["search", "--preset", "smoke", "--out", str(tmp_path / "out"), "--trials", "1", "--epochs", "1"]
    result = CliRunner().invoke(app, [*command, "--profile", "loopback", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["trials"] == 2
    assert document["pareto"]
    assert (tmp_path / "out" / REPORT_FILE).exists()
