"""``mpcvit model``: what the owner of a model does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.errors import ConfigError

if TYPE_CHECKING:
    from mpcvit.export.factors import Factors

model_app = typer.Typer(help="Export and share models.", no_args_is_help=True)


@model_app.command("export")
@command
def export(
    trained: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors.")],
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part, for calibration.")],
    out: Annotated[Path, typer.Option(help="Where the exported model goes.")],
    name: Annotated[str, typer.Option(help="The model's public name.")],
    version: Annotated[str, typer.Option(help="Its version.")] = "1",
    images: Annotated[int, typer.Option(help="Calibration pictures.")] = 512,
    reveal: Annotated[str, typer.Option(help="What clients get: logits, label or topk.")] = "logits",
    top: Annotated[int | None, typer.Option(help="With topk: how many labels, likeliest first.")] = None,
    factors: Annotated[
        str, typer.Option(help="Layers of low rank: merged (fewer rounds) or kept (fewer products and weights).")
    ] = "merged",
    json_output: Json = False,
) -> None:
    """Turn a trained model into a Program with integer weights, calibrated on training pictures."""
    from mpcvit.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD, load_cifar10
    from mpcvit.data.normalise import normalise
    from mpcvit.export.vit import export_vit
    from mpcvit.models.files import load_model, save_model
    from mpcvit.program.cost import stock_cost
    from mpcvit.program.model_folder import Description, ModelFolder
    from mpcvit.wire.reveal import Reveal

    revealed = Reveal.parse(reveal, top)
    chosen = _factors(factors)
    pictures = load_cifar10(data, "train")
    model = load_model(trained)
    calibration = normalise(pictures.spread(images).images, CIFAR10_MEAN, CIFAR10_STD)
    exported = export_vit(model, calibration, reveal=revealed, factors=chosen)
    description = Description(
        name=name,
        version=version,
        labels=pictures.classes,
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
        reveal=exported.reveal,
    )
    ModelFolder(description, exported.program, exported.weights).save(out)
    save_model(model, out)
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
            }
        )
        return
    rows = [
        ("folder", str(out)),
        ("program", f"{exported.program.digest[:16]}.., {len(exported.program.nodes)} nodes"),
        ("reveals", str(exported.reveal)),
        ("real-valued difference to the model", f"{exported.fidelity:.2g}"),
        ("chance of a silent wrap per image (stock, bound)", f"{wraps:.2g}"),
    ]
    print_table(f"exported {name}", rows)


def _factors(name: str) -> Factors:
    """What is called ``name``."""
    from mpcvit.export.factors import Factors

    if name not in set(Factors):
        raise ConfigError(f"factors '{name}'", expected="merged or kept", remedy="Correct --factors.")
    return Factors(name)


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
