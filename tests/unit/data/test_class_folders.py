"""Image folders as people have them: clutter, damage, other classes than the model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.data.class_folders import check_parts_agree, find_pictures, part
from mpcvit.data.class_names import match_classes
from mpcvit.data.image_set import ImageSet, load_folder
from mpcvit.errors import InputError, ShapeMismatch
from mpcvit.measure.accuracy import Executor, evaluate
from mpcvit.models.vit import VisionTransformer
from mpcvit.store.trained import save_model
from mpcvit.train.batches import check_enough
from mpcvit.train.config import TrainConfig


def write(images: ImageSet, folder: Path, **names: str) -> None:
    """``images`` as an image folder, its classes under other ``names`` where there are such."""
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        name = images.classes[label]
        target = folder / names.get(name, name) / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)


@pytest.fixture
def data(tiny_pictures: ImageSet, tmp_path: Path) -> Path:
    """The twelve pictures of classes a, b and c, in a training and a test part."""
    for name in ("train", "test"):
        write(tiny_pictures, tmp_path / "data" / name)
    return tmp_path / "data"


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The object that a command prints."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def clutter(folder: Path) -> None:
    """Leave in ``folder``, and in its class a, what notebooks and systems leave."""
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"):
        (folder / name).mkdir()
        (folder / name / "x-checkpoint.png").write_text("no picture")
    (folder / "a" / ".ipynb_checkpoints").mkdir()
    for place in (folder, folder / "a", folder / "a" / ".ipynb_checkpoints"):
        for name in ("._0001.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (place / name).write_bytes(b"\0\5\x16\7 no picture")


def test_hidden_files_and_folders_are_ignored(data: Path, tiny_folder: Path, tiny_pictures: ImageSet) -> None:
    """They are no classes and no pictures, in whatever command reads the folder."""
    before = load_folder(data / "test")
    scored = run("eval", "--model", tiny_folder, "--data", data)
    for name in ("train", "test"):
        clutter(data / name)
    clutter_free = load_folder(data / "test")
    assert clutter_free.classes == ("a", "b", "c")
    assert np.array_equal(clutter_free.images, before.images)
    again = run("eval", "--model", tiny_folder, "--data", data)
    assert (again["n"], again["top1"], again["unreadable"]) == (12, scored["top1"], 0)
    exported = run("model", "export", tiny_folder, "--data", data, "--out", data / "out", "--name", "x")
    assert (exported["unreadable"], exported["notices"]) == (0, [])


def test_pictures_lie_at_any_depth_in_sorted_order(tmp_path: Path) -> None:
    """A class's own files come first; labels follow the classes."""
    for name in ("b/2.png", "b/1.png", "b/in/0.png", "a/9.JPEG", "a/deep/er/3.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
    found = find_pictures(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path, _ in found.files]
    assert names == ["a/9.JPEG", "a/deep/er/3.webp", "b/1.png", "b/2.png", "b/in/0.png"]
    assert [label for _, label in found.files] == [0, 0, 1, 1, 1]


def test_what_is_there_and_what_is_needed(tmp_path: Path) -> None:
    """No folder, a file, an empty folder, pictures without classes, an empty class: each has its own message."""
    with pytest.raises(InputError, match="missing, which does not exist; expected a folder of one subfolder per class"):
        find_pictures(tmp_path / "missing")
    (tmp_path / "parts" / "val").mkdir(parents=True)
    with pytest.raises(InputError, match=r"train, which does not exist \(in .*parts: val/\)"):
        find_pictures(tmp_path / "parts" / "train")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file, a file;"):
        find_pictures(tmp_path / "file")
    flat = tmp_path / "flat"
    flat.mkdir()
    with pytest.raises(InputError, match="nothing, and no folders"):
        find_pictures(flat)
    for number in range(3):
        Image.new("RGB", (2, 2)).save(flat / f"{number}.png")
    with pytest.raises(InputError, match=r"3 files, and no folders.*Sort the pictures into folders named after"):
        find_pictures(flat)
    for name in ("cat", "dog", "cow"):
        (flat / name).mkdir()
    Image.new("RGB", (2, 2)).save(flat / "cat" / "1.png")
    (flat / "dog" / ".DS_Store").write_text("x")
    with pytest.raises(InputError, match=r"no pictures in 2 of 3 class folders of .*: cow, dog; expected at least one"):
        find_pictures(flat)


def test_folders_that_cannot_be_read_are_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not taken for empty ones."""

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"PermissionError reading .*test"):
        load_folder(data / "test")


def damage(folder: Path) -> None:
    """Three files in class a that are no pictures: text, a picture cut off, a damaged one."""
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "notes.txt").write_text("no picture")
    (folder / "a" / "cut.png").write_bytes(whole[:60])
    (folder / "a" / "odd.ppm").write_bytes(b"P6\n2\x7f 2\n255\n")


COMMANDS = {
    "eval": ("eval", "--model", "{model}", "--data", "{data}"),
    "integer": ("eval", "--model", "{model}", "--data", "{data}", "--executor", "integer"),
    "report": ("report", "accuracy", "{model}", "--data", "{data}", "--out", "{data}/out"),
    "export": ("model", "export", "{model}", "--data", "{data}", "--out", "{data}/out", "--name", "x"),
    "compress": ("compress", "{model}", "repavit", "theta=0.5", "--data", "{data}", "--out", "{data}/out"),
    "quantize": ("quantize", "{model}", "--data", "{data}", "--out", "{data}/out", "--name", "x", "--images", "6"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_unreadable_files_are_named_or_counted(command: str, data: Path, tiny_folder: Path) -> None:
    """In every command that reads image folders; with --skip-unreadable the count is in the object."""
    arguments = [part.format(model=tiny_folder, data=data) for part in COMMANDS[command]]
    for name in ("train", "test"):
        damage(data / name)
    error = run(*arguments, code=4)["error"]
    assert error["reason"] == "INVALID_INPUT"
    assert "cut.png" in error["got"]
    assert "--skip-unreadable" in error["remedy"]
    done = run(*arguments, "--skip-unreadable")
    assert done["unreadable"] == (6 if command == "integer" else 3)
    assert any("3 files that cannot be read as pictures were left out" in notice for notice in done["notices"])
    assert any("notes.txt" in notice for notice in done["notices"])


def test_skipped_files_are_said_to_people(data: Path, tiny_folder: Path) -> None:
    """On standard error, beside the table."""
    damage(data / "test")
    arguments = ["eval", "--model", str(tiny_folder), "--data", str(data), "--skip-unreadable"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "3 files that cannot be read" in " ".join(result.stderr.split())
    assert "12 pictures" in result.stdout


def test_a_folder_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    """Also if unreadable ones are left out."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_text("no picture")
    with pytest.raises(InputError, match=r"no picture that can be read among 1 files.*1\.png"):
        load_folder(tmp_path, skip_unreadable=True)


def test_pictures_in_folders_are_read_as_any_others(tmp_path: Path) -> None:
    """Upright, on white, scaled; animations are said."""
    corners = np.zeros((4, 4, 3), np.uint8)
    corners[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    (tmp_path / "a").mkdir()
    Image.fromarray(corners).save(tmp_path / "a" / "0.png")
    Image.fromarray(corners).transpose(Image.Transpose.ROTATE_180).save(tmp_path / "a" / "1.png", exif=exif)
    Image.fromarray(corners[..., 0].astype(np.uint16) * 257).save(tmp_path / "a" / "2.png")
    alpha = np.dstack([np.zeros_like(corners), 255 - corners[..., :1]])
    Image.fromarray(alpha).save(tmp_path / "a" / "3.png")
    Image.fromarray(corners).save(tmp_path / "a" / "4.png", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    images = load_folder(tmp_path)
    assert all(np.array_equal(pixels, corners) for pixels in images.images)
    assert len(images) == 5
    (notice,) = images.notices
    assert "4.png has 2 frames" in notice
    assert images.spread(2).notices == images.notices


def test_other_sizes_are_refused_or_made_to_fit(data: Path, tiny_folder: Path) -> None:
    """By eval and report: never resized unless asked to."""
    Image.new("RGB", (30, 20)).save(data / "test" / "b" / "large.png")
    for command in ("eval", "report"):
        arguments = [part.format(model=tiny_folder, data=data) for part in COMMANDS[command]]
        error = run(*arguments, code=4)["error"]
        assert error["reason"] == "SHAPE_MISMATCH"
        assert "large.png, of 30 x 20" in error["got"]
        assert "8 x 8" in error["expected"]
        assert run(*arguments, "--skip-unreadable", code=4)["error"] == error  # it can be read
        done = run(*arguments, "--fit", "model")
        assert (done["n"] if command == "eval" else done["models"][0]["accuracy"]["float"]["n"]) == 13
    with pytest.raises(ShapeMismatch, match=r"2 different sizes in .*: 12 of 8 x 8, 1 of 30 x 20"):
        load_folder(data / "test")


def test_calibration_pictures_that_are_resized_are_counted(data: Path, tiny_folder: Path) -> None:
    """An export makes them fit, and says so."""
    Image.new("RGB", (30, 20)).save(data / "train" / "b" / "large.png")
    done = run("model", "export", tiny_folder, "--data", data, "--out", data / "out", "--name", "x")
    assert done["notices"] == ["1 of 13 pictures had another size than the model's, and were made to fit."]


def test_a_training_part_is_not_scored_by_chance(data: Path, tiny_folder: Path) -> None:
    """Where the other part has another name, the error says what there is."""
    (data / "test").rename(data / "val")
    error = run("eval", "--model", tiny_folder, "--data", data, code=4)["error"]
    assert "test, which does not exist (in " in error["got"]
    assert "data: train/, val/)" in error["got"]
    assert run("eval", "--model", tiny_folder, "--data", data / "val")["n"] == 12


@pytest.mark.parametrize("executor", [Executor.FLOAT, Executor.REFERENCE])
def test_classes_are_matched_by_name(
    executor: Executor, tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """A test folder that lacks a class is scored as its pictures are among all."""
    write(tiny_pictures, tmp_path / "all")
    whole = load_folder(tmp_path / "all")
    some = whole.subset(np.flatnonzero(whole.labels > 0))
    write(some, tmp_path / "some")
    expected = evaluate(tiny_folder, some, executor).top1
    partial = load_folder(tmp_path / "some")
    assert partial.classes == ("b", "c")
    assert evaluate(tiny_folder, partial, executor).top1 == expected
    name = executor.value
    assert run("eval", "--model", tiny_folder, "--data", tmp_path / "some", "--executor", name)["top1"] == expected
    report = run("report", "accuracy", tiny_folder, "--data", tmp_path / "some", "--out", tmp_path / "out")
    assert report["models"][0]["accuracy"][name]["top1"] == expected


@pytest.mark.parametrize("names", [{"c": "d"}, {"a": "ant", "b": "bee", "c": "cat"}, {"a": "A"}])
def test_other_classes_are_refused_with_both_lists(
    names: dict[str, str], tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Other names are never scored by their place; so is one class more."""
    write(tiny_pictures, tmp_path / "data", **names)
    error = run("eval", "--model", tiny_folder, "--data", tmp_path / "data", code=4)["error"]
    assert error["reason"] == "INVALID_INPUT"
    assert all(name in error["got"] for name in names.values())
    assert "a, b, c" in error["expected"]
    write(tiny_pictures, tmp_path / "more")
    write(tiny_pictures.subset(np.arange(1)), tmp_path / "more", a="zebra")
    error = run("eval", "--model", tiny_folder, "--data", tmp_path / "more", code=4)["error"]
    assert "1 classes that the model does not know: zebra" in error["got"]
    assert "a, b, c, zebra" in error["got"]
    arguments = ("report", "accuracy", tiny_folder, "--data", tmp_path / "more", "--out", tmp_path / "out")
    assert run(*arguments, code=4)["error"] == error


def _of(*classes: str) -> ImageSet:
    count = len(classes)
    return ImageSet(np.zeros((count, 2, 2, 3), np.uint8), np.arange(count, dtype=np.int64), classes)


def test_numbered_labels_are_matched_by_their_numbers() -> None:
    """7, 07 and class7 are one; names are taken in order if they are as many, with a notice."""
    labels = tuple(f"class{number}" for number in range(12))
    numbers = sorted(map(str, range(12)))
    assert numbers[:3] == ["0", "1", "10"]
    matched = match_classes(_of(*numbers), labels)
    assert [matched.classes[label] for label in matched.labels] == [f"class{number}" for number in numbers]
    assert match_classes(_of("class07", "3"), labels).labels.tolist() == [7, 3]
    named = match_classes(_of(*"abcdefghijkl"), labels)
    assert named.labels.tolist() == list(range(12))
    assert "sorted by name" in named.notices[0]
    with pytest.raises(InputError, match="2 classes that the model does not know: a, b"):
        match_classes(_of("a", "b"), labels)


def test_names_are_matched_however_they_are_composed() -> None:
    """Systems write accents in two ways; everything else counts, case included."""
    assert match_classes(_of("cafe\u0301"), ("bar", "caf\u00e9")).labels.tolist() == [1]
    with pytest.raises(InputError, match="does not know: Bar"):
        match_classes(_of("Bar"), ("bar", "caf\u00e9"))


def test_long_lists_are_cut() -> None:
    """A message has at most 20 names of each."""
    with pytest.raises(InputError, match=r"a19 and 980 more") as caught:
        match_classes(_of(*(f"a{number:02}" for number in range(1000))), tuple(f"b{n}" for n in range(500)))
    assert "b19 and 480 more" in caught.value.expected


def test_a_part_holds_class_folders(tmp_path: Path) -> None:
    """CIFAR-100 has a class of the name 'train'."""
    for name in ("ship", "train"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(tmp_path / "flat" / name / "0.png")
        (tmp_path / "parts" / "train" / name).mkdir(parents=True)
        (tmp_path / "loose" / "test").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / "loose" / "test" / f"{name}.png")
    assert part(tmp_path / "flat", "train") == tmp_path / "flat"
    assert part(tmp_path / "missing", "train") == tmp_path / "missing"
    assert part(tmp_path / "loose", "test") == tmp_path / "loose" / "test"
    with pytest.raises(InputError, match="test: 2 files, and no folders"):
        find_pictures(part(tmp_path / "loose", "test"))
    assert part(tmp_path / "parts", "train") == tmp_path / "parts" / "train"
    assert part(tmp_path / "parts" / "train", "train") == tmp_path / "parts" / "train"


def test_parts_with_other_classes_are_refused_before_a_training(data: Path) -> None:
    """With what both have; a test part may lack classes."""
    check_parts_agree(data)
    (data / "test" / "c").rename(data / "test" / "zebra")
    with pytest.raises(InputError, match=r"1 classes in .*test that are not in .*train: zebra.*3: a, b, c"):
        check_parts_agree(data)
    out = data / "out"
    error = run("train", "cifar10_teacher_small", "--data", data, "--out", out, code=4)["error"]
    assert "zebra" in error["got"]


def test_too_few_pictures_for_a_training_are_counted() -> None:
    """The error says how many there are, how many are held out, and how large a batch is."""
    config = TrainConfig(model="x", epochs=1, batch_size=128, validation=5000)
    with pytest.raises(InputError, match=r"3 training pictures; expected at least 5,128: 5,000 .*a batch of 128"):
        check_enough(config, _of("a", "b", "c"))


def test_classes_of_another_model_are_listed(tiny_model: VisionTransformer, data: Path) -> None:
    """An export takes its labels from a folder of as many classes as the model has."""
    save_model(tiny_model, data / "trained")
    (data / "train" / ".ipynb_checkpoints").mkdir()
    arguments = ("model", "export", data / "trained", "--data", data, "--out", data / "out", "--name", "x")
    assert run(*arguments)["labels"] == "the folder's classes"
    for path in (data / "train" / "c").iterdir():
        path.unlink()
    (data / "train" / "c").rmdir()
    assert "2 classes of pictures for a model of 3: a, b" in run(*arguments, code=4)["error"]["got"]


def test_links_are_followed_but_not_in_circles(data: Path, tmp_path: Path) -> None:
    """A class may be a link to elsewhere; one that leads back would count its pictures forty times."""
    (data / "test" / "a").rename(tmp_path / "elsewhere")
    (data / "test" / "a").symlink_to(tmp_path / "elsewhere")
    assert len(find_pictures(data / "test").files) == 12
    for target in (tmp_path / "elsewhere", data / "test"):
        (tmp_path / "elsewhere" / "inner").mkdir()
        (tmp_path / "elsewhere" / "inner" / "back").symlink_to(target)
        with pytest.raises(InputError, match=r"back.* leads back to"):
            find_pictures(data / "test")
        (tmp_path / "elsewhere" / "inner" / "back").unlink()
        (tmp_path / "elsewhere" / "inner").rmdir()
