"""Measurements of models as files, and models side by side."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Generator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpcvit.client.answers import Classification
from mpcvit.client.result import Inference
from mpcvit.data.image_set import ImageSet
from mpcvit.errors import ModelFileError
from mpcvit.export.vit import export_vit
from mpcvit.link_profile import LinkProfile
from mpcvit.measure.accuracy import Accuracy, Executor, reference_answers
from mpcvit.measure.latency import Latency
from mpcvit.measure.record import Measured, score, time_in_turns
from mpcvit.models.vit import VisionTransformer
from mpcvit.reports.comparison import PAGE_FILE, caption, table, write
from mpcvit.reports.style import label_points, new_figure
from mpcvit.store.exported import ModelFolder
from mpcvit.store.trained import save_model
from mpcvit.wire.reveal import LOGITS
from mpcvit.wire.stats import Stats
from tests.support.images import make_images


def measured(name: str = "small", **changes: Any) -> Measured:
    """A model that was scored by two executors and timed on two networks."""
    latency = {"rounds": 70, "bytes_sent": [1_000_000, 2_000_000], "material_bytes": [3_000_000, 4_000_000]}
    return Measured(
        **{
            "model": name,
            "program": "ab" * 32,
            "heads": {"softmax": 3, "scaling": 1},
            "accuracy": {"float": {"top1": 0.9, "n": 8000}, "reference": {"top1": 0.8975, "n": 8000}},
            "latency": {"loopback": {**latency, "online_s": 0.25}, "wan": {**latency, "online_s": 2.5, "rounds": 60}},
            **changes,
        }
    )


def test_measurements_survive_a_file(tmp_path: Path) -> None:
    """What is saved is loaded; a file of something else is refused."""
    measured().save(tmp_path / "deep" / "one.json")
    assert Measured.load(tmp_path / "deep" / "one.json") == measured()
    (tmp_path / "other.json").write_text('{"fruit": 1}')
    with pytest.raises(ModelFileError, match=r"other\.json"):
        Measured.load(tmp_path / "other.json")


def test_top1_is_that_of_the_reference_where_it_was_scored() -> None:
    """The reference is what clients get; float stands in for it; nothing scored is None."""
    assert measured().top1 == 0.8975
    assert measured(accuracy={"float": {"top1": 0.9, "n": 8000}}).top1 == 0.9
    assert measured(accuracy={}).top1 is None


def test_scoring_is_not_repeated(tiny_folder: Path, tmp_path: Path) -> None:
    """Float and reference are scored once per set of pictures; another set of as many is another one."""
    rng = np.random.default_rng(3)
    images = ImageSet(rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), np.arange(12) % 3, ("a", "b", "c"))
    said: list[str] = []

    def run(pictures: ImageSet) -> Measured:
        return score(tiny_folder, tmp_path, pictures, (Executor.FLOAT, Executor.REFERENCE), said.append)

    first = run(images)
    assert {name: one["n"] for name, one in first.accuracy.items()} == {"float": 12, "reference": 12}
    assert len(said) == 2
    assert run(images) == first
    assert len(said) == 2
    assert run(images.subset(np.arange(5))).accuracy["float"]["n"] == 5
    assert len(said) == 4
    others = ImageSet(images.images[::-1].copy(), images.labels, images.classes)
    assert run(others).accuracy["float"]["n"] == 12
    assert len(said) == 6
    run(ImageSet(others.images, others.labels[::-1].copy(), others.classes))
    assert len(said) == 8


@pytest.mark.parametrize("changed", ["model.safetensors", "quantized/quantize.json", "quantized/model.safetensors"])
def test_a_changed_model_is_scored_again(
    changed: str, tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in the Program counts too: the float weights, and the quantized model beside them."""
    scored = []

    def fake(folder: Path, images: ImageSet, executor: Executor, *, kept: Path) -> Accuracy:
        scored.append(executor)
        return Accuracy(executor, len(images), 0.5, 0.5, 0.0, None, 1.0, {})

    monkeypatch.setattr("mpcvit.measure.record.evaluate", fake)
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    for turn in range(3):
        score(folder, tmp_path / "out", tiny_pictures, (Executor.QUANTIZED,))
        assert len(scored) == min(turn + 1, 2)
        if turn == 0:
            (folder / changed).parent.mkdir(exist_ok=True)
            (folder / changed).write_bytes(b"other")


def test_scores_of_earlier_versions_are_replaced(tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path) -> None:
    """A file that does not say what was scored is read, keeps its latencies, and is scored anew."""
    one = score(tiny_folder, tmp_path, tiny_pictures, (Executor.FLOAT,))
    (path,) = tmp_path.iterdir()
    wrong = {name: value for name, value in one.accuracy["float"].items() if name != "scored"} | {"top1": 7.0}
    replace(one, accuracy={"float": wrong}, latency={"wan": {"online_s": 1.0}}).save(path)
    again = score(tiny_folder, tmp_path, tiny_pictures, (Executor.FLOAT,))
    assert again.accuracy["float"]["top1"] == one.accuracy["float"]["top1"]
    assert again.latency == {"wan": {"online_s": 1.0}}


def test_a_secure_run_that_was_broken_off_goes_on(
    tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are kept one by one; the rest is asked for, even if the last line was not written to its end."""
    labels = reference_answers(tiny_folder, tiny_pictures).labels
    asked: list[int] = []
    breaks = [5]

    def fake(folder: Path, images: ImageSet, *_: Any) -> Generator[Inference]:
        for image in images.images:
            number = int(np.flatnonzero((tiny_pictures.images == image).all((1, 2, 3)))[0])
            if breaks and number == breaks[0]:
                breaks.pop()
                raise KeyboardInterrupt
            asked.append(number)
            stats = Stats(1.0, 2.0, 0.0, 0.0, 9, 10, 11)
            logits = np.eye(3)[labels[number]]
            names = "tiny", "1", ("a", "b", "c")
            answer = Classification(names[2], tuple(np.argsort(-logits).tolist()), logits)
            yield Inference(*names, LOGITS, answer, "", (stats, stats))

    monkeypatch.setattr("mpcvit.measure.secure_answers._inferences", fake)

    def run() -> Measured:
        return score(tiny_folder, tmp_path, tiny_pictures, (Executor.SECURE,))

    with pytest.raises(KeyboardInterrupt):
        run()
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text()[:-20])
    secure = run().accuracy["secure"]
    assert asked == [0, 1, 2, 3, 4, *range(4, 12)]
    assert (secure["n"], secure["agreement_with_reference"]) == (12, 1.0)
    assert secure["cost"] == {
        "online_s": 2.0, "offline_s": 1.0, "rounds": 9, "bytes_sent": [10, 10], "material_bytes": [11, 11]
    }  # fmt: skip
    assert not kept.exists()
    run()
    assert len(asked) == 13


def test_models_of_one_name_have_files_of_their_own(
    tiny_folder: Path, tiny_model: VisionTransformer, tmp_path: Path
) -> None:
    """Folders called alike hold different Programs, one is called as the report is, and each is kept apart."""
    other = tmp_path / "elsewhere" / tiny_folder.name
    exported = export_vit(tiny_model, make_images(tiny_model.config, 8, seed=2))
    ModelFolder(ModelFolder.load(tiny_folder).description, exported.program, exported.weights).save(other)
    save_model(tiny_model, other)
    report = shutil.copytree(other, tmp_path / "report")
    out = tmp_path / "out"
    images = ImageSet(np.zeros((2, 8, 8, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64), ("a", "b", "c"))

    def run(folder: Path) -> Measured:
        return score(folder, out, images, (Executor.FLOAT,))

    found = [run(folder) for folder in (tiny_folder, other, report)]
    digests = [ModelFolder.load(folder).program.digest for folder in (tiny_folder, other, report)]
    assert [one.program for one in found] == digests
    assert digests[0] != digests[1]
    names = [f"{name}-{digest[:12]}.json" for name, digest in zip(("tiny", "tiny", "report"), digests, strict=True)]
    assert {path.name for path in out.iterdir()} == set(names)
    assert [Measured.load(out / name) for name in names] == found


def test_models_are_timed_turn_by_turn(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All models once, then all again; medians are over all turns; an interrupted measurement goes on."""
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    seconds = iter([1.0, 10.0, 3.0, 20.0, 2.0])
    order: list[str] = []

    def fake(folder: Path, engine: str, profile: LinkProfile, runs: int) -> Latency:
        order.append(folder.name)
        online = next(seconds)
        return Latency(
            model=folder.name,
            engine=engine,
            network=profile.name,
            runs=runs,
            online_s=online,
            online_s_all=[online],
            offline_s=online,
            client_s=online,
            rounds=7,
            bytes_sent=[1, 1],
            material_bytes=[2, 3],
            max_abs_logit_diff=online / 100,
            argmax_match=online != 20.0,
            floor_s=online,
            peak_memory_bytes=[int(online), 4],
        )

    monkeypatch.setattr("mpcvit.measure.record.measure_latency", fake)
    out = tmp_path / "out"
    first, second = time_in_turns([tiny_folder, other], out, ["loopback"], turns=2, runs=1)
    assert order == [tiny_folder.name, "other"] * 2
    assert first.latency["loopback"]["online_s"] == 2.0
    assert second.latency["loopback"]["argmax_match"] is False
    (more,) = time_in_turns([tiny_folder], out, ["loopback"], turns=3, runs=1)
    latency = more.latency["loopback"]
    assert (latency["runs"], latency["online_s"], latency["online_s_all"]) == (3, 2.0, [1.0, 3.0, 2.0])
    assert (latency["max_abs_logit_diff"], latency["floor_s"], latency["peak_memory_bytes"]) == (0.03, 1.0, [3, 4])


class _Cells(HTMLParser):
    """Counts cells and pictures of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1


def test_a_report_has_a_row_per_model(tmp_path: Path) -> None:
    """Table, JSON, plot and page hold every model; what was not measured is empty."""
    models = [measured("a <b>"), measured("bare", accuracy={}, latency={})]
    headings, rows = table(models)
    assert [" ".join(heading.split()) for heading in headings] == [
        "model",
        "top-1 float",
        "top-1 refer",
        "online loopback",
        "online wan",
        "rounds",
        "MB sent",
        "MB dealt",
    ]
    # rounds and bytes are those of the slowest network's plan
    assert rows[0] == ["a <b>", "90.00", "89.75", "0.25", "2.5", "60", "2", "7"]
    assert rows[1] == ["bare", *[""] * 7]
    assert (
        caption(models) == "Top-1 in percent of 8,000 pictures. Seconds online; rounds and bytes of the plan for wan."
    )
    write(models, tmp_path)
    assert [one["model"] for one in json.loads((tmp_path / "report.json").read_text())["models"]] == ["a <b>", "bare"]
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    page = _Cells()
    page.feed((tmp_path / PAGE_FILE).read_text())
    assert (page.counts["th"], page.counts["td"], page.counts["img"]) == (9, 18, 1)
    assert "b" not in page.counts  # names are escaped


def test_labels_of_close_points_do_not_cover_each_other() -> None:
    """Six models of nearly equal speed and accuracy, the last at the right edge."""
    figure = new_figure(5.2, 4.8)
    axes = figure.subplots()
    points = [(2.0 + 0.02 * i, 87.0 + 0.05 * (i % 3)) for i in range(5)] + [(3.0, 87.4)]
    axes.scatter([x for x, _ in points], [y for _, y in points])
    label_points(axes, points, [f"some_model_{i}" for i in range(6)])
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
