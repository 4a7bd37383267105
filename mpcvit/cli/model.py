"""``mpcvit model``: what the owner of a model does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table

model_app = typer.Typer(help="Export and share models.", no_args_is_help=True)


@model_app.command("export")
@command
def export(
    out: Annotated[Path, typer.Option(help="Where the exported model goes.")],
    name: Annotated[str, typer.Option(help="The model's public name.")],
    trained: Annotated[
        Path | None,
        typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model; or give --timm."),
    ] = None,
    timm: Annotated[str | None, typer.Option(help="A backbone by timm's name, e.g. deit_tiny_patch16_224.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="With --timm: safetensors file of weights; random ones without it.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="With --timm: side of the pictures, if not the usual.")] = None,
    classes: Annotated[int | None, typer.Option(help="With --timm: number of classes, if not the usual.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Image folder for calibration; with a 'train' part unless with --timm.")
    ] = None,
    noise: Annotated[bool, typer.Option("--noise", help="With --timm: calibrate on noise. For timing only.")] = False,
    version: Annotated[str, typer.Option(help="Its version.")] = "1",
    images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Calibration pictures; by default 512, or 32 with --timm or of more than 64 pixels a side."
        ),
    ] = None,
    stock_wraps: Annotated[
        float, typer.Option(help="Largest accepted chance per image of a silent wrap on the stock engine.")
    ] = 0.01,
    reveal: Annotated[str, typer.Option(help="What clients get: logits, label or topk.")] = "logits",
    top: Annotated[int | None, typer.Option(help="With topk: how many labels, likeliest first.")] = None,
    factors: Annotated[
        str, typer.Option(help="Layers of low rank: merged (fewer rounds) or kept (fewer products and weights).")
    ] = "merged",
    json_output: Json = False,
) -> None:
    """Turn a trained model, or a backbone of timm's, into a Program with integer weights, calibrated on pictures."""
    from mpcvit import zoo
    from mpcvit.cli.export_source import Choice, open_source
    from mpcvit.export.builder import Precision
    from mpcvit.export.factors import parse_factors
    from mpcvit.export.model import export_model
    from mpcvit.models.files import save_model
    from mpcvit.program.cost import stock_cost
    from mpcvit.program.model_folder import Description, ModelFolder
    from mpcvit.wire.reveal import Reveal

    revealed = Reveal.parse(reveal, top)
    chosen = parse_factors(factors)
    choice = Choice(
        trained=None if trained is None else zoo.folder(trained),
        timm=timm,
        weights=weights,
        image_size=image_size,
        classes=classes,
        data=data,
        noise=noise,
        images=images,
    )
    source = open_source(choice)
    exported = export_model(source.model, source.images, Precision(stock_wraps=stock_wraps), revealed, chosen)
    description = Description(
        name=name,
        version=version,
        labels=source.labels,
        mean=source.mean,
        std=source.std,
        reveal=exported.reveal,
    )
    ModelFolder(description, exported.program, exported.weights).save(out)
    save_model(source.model, out)
    wraps = stock_cost(exported.program, 2).wrap_probability
    if json_output:
        print_json(
            {
                "model": name,
                "folder": str(out),
                "program_sha256": exported.program.digest,
                "nodes": len(exported.program.nodes),
                "reveal": asdict(exported.reveal),
                "fidelity": exported.fidelity,
                "wrap_probability": wraps,
                **source.facts,
            }
        )
        return
    rows = [
        ("folder", str(out)),
        *source.facts.items(),
        ("program", f"{exported.program.digest[:16]}.., {len(exported.program.nodes)} nodes"),
        ("reveals", str(exported.reveal)),
        ("real-valued difference to the model", f"{exported.fidelity:.2g}"),
        ("chance of a silent wrap per image (stock, bound)", f"{wraps:.2g}"),
    ]
    print_table(f"exported {name}", rows)


@model_app.command("share")
@command
def share(
    model: Annotated[str, typer.Argument(help="A shipped model's name, or an exported model's folder.")],
    out: Annotated[Path, typer.Option(help="Gets one folder per party.")],
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    json_output: Json = False,
) -> None:
    """Split a model's weights into one share folder per party. Send each party its own, by a safe way."""
    from mpcvit import zoo
    from mpcvit.program.model_folder import ModelFolder
    from mpcvit.program.shares import share_model

    manifest, folders = share_model(ModelFolder.load(zoo.folder(model)), parties, out)
    digest = manifest.digest.hex()
    if json_output:
        print_json({"manifest_sha256": digest, "folders": [str(folder) for folder in folders]})
    else:
        rows = [("manifest digest, for clients to pin", digest)]
        print_table("shares", rows + [(folder.name, str(folder)) for folder in folders])
