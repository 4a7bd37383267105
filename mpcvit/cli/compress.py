"""``mpcvit compress``: make a trained model smaller."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mpcvit.cli.module_options import ImageSize, Mean, Module, Std, Timm, WeightsFile
from mpcvit.cli.output import (
    Json,
    command,
    print_grid,
    print_json,
    print_notices,
    print_table,
    progress_console,
)
from mpcvit.cli.picture_options import SkipUnreadable
from mpcvit.errors import ConfigError
from mpcvit.store.out_folder import check_result, written


def _list(wanted: bool) -> None:
    """Print all passes with their settings and stop."""
    if not wanted:
        return
    from mpcvit.compress.passes import PASSES
    from mpcvit.compress.settings import settings_of

    rows = []
    for name, kind in PASSES.items():
        first = re.sub(r":\w+:|`", "", (kind.__doc__ or "").partition("\n")[0])
        rows.append((name, Text.assemble(first, "\n", (" ".join(settings_of(kind)), "dim"))))
    print_table("passes", rows)
    raise typer.Exit


@command
def compress(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[TRAINED] PASS [SETTING=VALUE]...",
            help="Folder with config.json and model.safetensors, or a shipped model, without --timm or --module; "
            "name of a pass (see --list); its settings.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Image folder for calibration; a trained folder's has a 'train' part.")],
    out: Annotated[Path, typer.Option(help="Folder to write the smaller model to.")],
    timm: Timm = None,
    module: Module = None,
    weights: WeightsFile = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    images: Annotated[int, typer.Option(min=1, help="Number of calibration pictures.")] = 256,
    network: Annotated[str, typer.Option(help="Objective of the plan to price: loopback, lan or wan.")] = "wan",
    factors: Annotated[str, typer.Option(help="How to count layers of low rank: merged or kept factors.")] = "merged",
    skip_unreadable: SkipUnreadable = False,
    list_passes: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list, help="List passes and their settings, and exit.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Compress a trained model by one pass, and say what that does to the cost of a secure inference.

    Of a module (--module, --timm), linear layers are compressed one by one; its weights are written for --weights.
    Most passes want training afterwards: mpcvit train cifar10_finetune --start-from OUT --teacher TRAINED ...
    """
    from mpcvit import zoo
    from mpcvit.compress import compress as run
    from mpcvit.compress import compress_module
    from mpcvit.compress.settings import make_pass
    from mpcvit.engines.masked.objective import objective
    from mpcvit.export.builder import Precision
    from mpcvit.export.factors import parse_factors
    from mpcvit.export.source import SourceChoice, changeable, open_source
    from mpcvit.export.traced.model import TracedModel
    from mpcvit.models.vit import VisionTransformer
    from mpcvit.pricing.footprint import effect
    from mpcvit.store.history import HISTORY_FILE, write_history, write_module_history
    from mpcvit.store.trained import save_model, save_module_weights

    folder_name, name, settings = _arguments(arguments, with_folder=timm is None and module is None)
    chosen = make_pass(name, settings)
    form, goal = parse_factors(factors), objective(network)
    check_result(out, HISTORY_FILE)
    trained = None if folder_name is None else zoo.folder(Path(folder_name))
    choice = SourceChoice(
        trained=trained,
        timm=timm,
        module=module,
        weights=weights,
        image_size=image_size,
        mean=mean,
        std=std,
        data=data,
        images=images,
        skip_unreadable=skip_unreadable,
    )
    source = open_source(choice)
    model = changeable(source)
    smaller: VisionTransformer | TracedModel
    with progress_console.status(f"{name} on {images} pictures") as status:

        def told(line: str) -> None:
            status.update(f"{name}: {line}")

        if isinstance(model, TracedModel):
            smaller = TracedModel(compress_module(model.module, chosen, source.images, told), model.config)
        else:
            smaller = run(model, chosen, source.images, told)
        status.update("costs before and after")
        change = effect(
            model,
            smaller,
            source.images,
            objective=goal,
            factors=form,
            precision=Precision(stock_wraps=math.inf),  # prices are those of the fast engine
            normalisation=source.normalisation,
        )
        with written(out) as folder:
            if isinstance(smaller, TracedModel):
                save_module_weights(smaller.module, folder)
                write_module_history(chosen, len(source.images), module or str(timm), weights, folder)
            elif trained is None:  # a ViT of timm's
                save_model(smaller, folder)
                write_module_history(chosen, len(source.images), str(timm), weights, folder)
            else:
                save_model(smaller, folder)
                write_history(chosen, len(source.images), trained, folder)
            if source.description is not None:  # how its pictures are prepared
                source.description.save(folder)
    if json_output:
        print_json({"pass": chosen.to_json(), "folder": str(out), **change.to_json(), **source.read})
        return
    print_notices(source.notices)
    before, left = asdict(change.before), change.shares()
    rows = [
        [fact.replace("_", " "), f"{before[fact]:,}", f"{after:,}", f"{100 * (left[fact] - 1):+.1f} %"]
        for fact, after in asdict(change.after).items()
    ]
    print_grid(f"{name}: {out}", ["one inference", "before", "after", "change"], rows, f"The plan for {network}.")


def _arguments(arguments: list[str], *, with_folder: bool) -> tuple[str | None, str, list[str]]:
    """Return the trained folder, where one is to be named, the pass, and its settings."""
    needed = 2 if with_folder else 1
    if len(arguments) < needed:
        raise ConfigError(
            f"'{' '.join(arguments)}'",
            expected="a trained folder and a pass" if with_folder else "a pass",
            remedy="Type mpcvit compress TRAINED PASS .., or PASS .. with --module or --timm.",
        )
    return (arguments[0] if with_folder else None), arguments[needed - 1], arguments[needed:]
