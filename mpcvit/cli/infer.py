"""``mpcvit infer``: classify pictures with running parties."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer
from rich.text import Text

from mpcvit.cli.answer import check_save, describe, headline, number, print_answer, save_answer
from mpcvit.cli.output import (
    Cell,
    Json,
    command,
    error_object,
    literal,
    print_grid,
    print_json,
    progress_console,
)
from mpcvit.cli.picture_options import FitOption
from mpcvit.client import Client, Inference, InferOptions
from mpcvit.client.image import Source
from mpcvit.errors import ConfigError, InputError, MpcvitError


@command
def infer(
    picture: Annotated[
        Path,
        typer.Argument(
            help="A picture of the model's size, or of any size with --fit; whatever else the model reads: npy, DICOM, "
            "NIfTI, a file of frames; or a folder of such files."
        ),
    ],
    config: Annotated[Path, typer.Option("--config", "-c", help="The client's YAML file.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model's name; needed if the parties serve several.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Which of the model's Programs answers. Default: the whole model.")
    ] = None,
    fit: FitOption = "",
    together: Annotated[
        bool,
        typer.Option("--together", help="A folder is one input: a bag, the slices of a volume, the frames of a clip."),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Pictures of a folder that are classified at a time.")] = 4,
    retries: Annotated[
        int | None,
        typer.Option(min=0, help="New sessions per picture after errors that pass. Default: the client's file says."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="File to write: NAME.png, the picture under the labels of its map, or NAME.npy, its vector."),
    ] = None,
    json_output: Json = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print a line with one JSON object per picture, errors included.")
    ] = False,
) -> None:
    """Split pictures into shares, let the parties classify them, join the answers.

    Of a folder, every file is classified, unless it is one input. One that has no answer is reported with its error,
    the others go on, and the exit code is then 1.
    """
    if json_output and json_lines:
        raise ConfigError("--json and --json-lines", expected="one of them", remedy="Leave one of them out.")
    if save is not None:
        if picture.is_dir() or json_lines:
            raise ConfigError("--save with many pictures", expected="one picture", remedy="Leave --save out.")
        check_save(save)
    with Client.from_config(config) as client:
        if (picture.is_dir() and not together) or json_lines:
            report = _print_lines if json_lines else _print_object if json_output else _print_grid
            files = [picture] if together else _files(picture)
            failed = report(_infer_files(client, files, model, concurrency, budget=budget, fit=fit, retries=retries))
            raise typer.Exit(1 if failed else 0)
        answer = infer_with_progress(client, picture, model, budget=budget, fit=fit, retries=retries)
    if save is not None:
        save_answer(answer, picture, save, fit)
    if json_output:
        print_json({"image": str(picture), **describe(answer)})
    else:
        print_answer(picture.name, answer)


_Answers = Iterator[tuple[Path, Inference | MpcvitError]]


def _files(path: Path) -> list[Path]:
    """Return every file below ``path``, or ``path`` itself."""
    from mpcvit.data.class_folders import files_below

    files = files_below(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"no files in {path}", expected="pictures", remedy="Name a folder of pictures.")
    return files


def _infer_files(
    client: Client, files: list[Path], model: str | None, concurrency: int, **options: Unpack[InferOptions]
) -> _Answers:
    """Yield each of ``files`` with its answer or its error, in order."""
    from rich.progress import Progress

    with (  # standard output stays where it is: rich would send it where the progress goes
        Progress(console=progress_console, transient=True, redirect_stdout=False) as bar,
        closing(client.infer_each(files, model, concurrency=concurrency, **options)) as answers,
    ):
        task = bar.add_task("classifying", total=len(files))
        for file, answer in zip(files, answers, strict=True):
            yield file, answer
            bar.advance(task)


def _line(file: Path, answer: Inference | MpcvitError) -> dict[str, Any]:
    return {"image": str(file), **(error_object(answer) if isinstance(answer, MpcvitError) else describe(answer))}


def _print_lines(answers: _Answers) -> bool:
    """Print a line per picture as soon as its turn has come; return whether any failed."""
    failed = False
    for file, answer in answers:
        failed |= isinstance(answer, MpcvitError)
        sys.stdout.write(json.dumps(_line(file, answer)) + "\n")
        sys.stdout.flush()
    return failed


def _print_object(answers: _Answers) -> bool:
    """Print one object with all pictures; return whether any failed."""
    every = list(answers)
    failed = sum(isinstance(answer, MpcvitError) for _, answer in every)
    print_json({"pictures": [_line(file, answer) for file, answer in every], "failed": failed})
    return bool(failed)


def _print_grid(answers: _Answers) -> bool:
    """Print a table with a row per picture, and the errors on standard error; return whether any failed."""
    rows: list[list[Cell]] = []
    errors: list[str] = []
    for file, answer in answers:
        if isinstance(answer, MpcvitError):
            errors.append(f"{file.name}: {answer}")
            rows.append([file.name, Text(answer.reason, "red"), ""])
        else:
            rows.append([file.name, headline(answer.answer), number(answer.answer)])
    print_grid(f"{len(rows)} pictures", ["picture", "answer", "score"], rows)
    for error in errors:
        progress_console.print(Text("error", "bold red"), literal(error))
    return bool(errors)


def infer_with_progress(
    client: Client, picture: Source, model: str | None = None, **options: Unpack[InferOptions]
) -> Inference:
    """Call ``client.infer`` under a progress bar on standard error."""
    from rich.progress import Progress

    with Progress(console=progress_console, transient=True) as bar:
        task = bar.add_task("sharing", total=1)

        def report(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        options["progress"] = report
        return client.infer(picture, model, **options)
