"""``mpcvit quantize``: a trained model with few bits, in clear and on secret shares."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, print_table, progress_console


@command
def quantize(
    trained: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model.")],
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part, for calibration.")],
    out: Annotated[Path, typer.Option(help="Where the quantized and exported model goes.")],
    name: Annotated[str, typer.Option(help="The model's public name.")],
    method: Annotated[
        str, typer.Option(help="minmax, percentile, mse, repq, adalog, mptq, is_vit, dopq, power_of_two.")
    ] = "repq",
    weight_bits: Annotated[int, typer.Option(help="Of every layer's weights.")] = 8,
    activation_bits: Annotated[int, typer.Option(help="Of what layers and attention products read.")] = 8,
    config: Annotated[Path | None, typer.Option(help="quantize.json with widths layer by layer, instead.")] = None,
    reconstruct: Annotated[bool, typer.Option("--reconstruct", help="Learn roundings and steps by block.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="With --reconstruct: gradient steps per block.")] = 1000,
    dealt_mib: Annotated[
        float | None, typer.Option(help="Narrow activations further, layer by layer, until the dealer sends so little.")
    ] = None,
    lowest_bits: Annotated[int, typer.Option(help="With --dealt-mib: least bits of activations.")] = 3,
    network: Annotated[str, typer.Option(help="With --dealt-mib: whose plan is narrowed: loopback, lan, wan.")] = "wan",
    version: Annotated[str, typer.Option(help="Its version.")] = "1",
    images: Annotated[int, typer.Option(min=1, help="Calibration pictures of the quantizers.")] = 128,
    json_output: Json = False,
) -> None:
    """Quantize a trained model after training, export what of that secret shares keep, and say what they do not.

    The folder can be scored by every executor: mpcvit eval --executor float|quantized|reference|secure.
    """
    from mpcvit import zoo
    from mpcvit.cli.export_source import Choice, open_source
    from mpcvit.errors import ConfigError
    from mpcvit.export.builder import Precision
    from mpcvit.export.dealt_bytes import dealt_bytes
    from mpcvit.export.vit import export_vit
    from mpcvit.models.files import load_model, save_model
    from mpcvit.program.model_folder import Description, ModelFolder
    from mpcvit.program.objective import objective
    from mpcvit.quantize import quantize as run
    from mpcvit.quantize.config import Bits, Method, QuantizeConfig
    from mpcvit.quantize.files import QUANTIZED_FOLDER, read_config, save_quantized
    from mpcvit.quantize.lower import lower
    from mpcvit.quantize.mixed_precision import mixed_precision

    if method not in set(Method):
        raise ConfigError(f"method '{method}'", expected=", ".join(Method), remedy="Choose one of these.")
    if config is not None:
        settings = read_config(config)
    else:
        bits = Bits(weight=weight_bits, activation=activation_bits)
        settings = QuantizeConfig(method=Method(method), bits=bits, reconstruct=reconstruct, steps=steps)
    trained = zoo.folder(trained)
    model = load_model(trained)
    source = open_source(Choice(trained=trained, data=data))
    spread = source.images[:: max(len(source.images) // images, 1)][:images]
    if dealt_mib is not None:
        lowest = Bits(weight=settings.bits.weight, activation=lowest_bits)
        with progress_console.status("prices of widths") as status:
            cost = dealt_bytes(
                model,
                settings,
                spread,
                objective(network),
                lowest_bits,
                lambda width: status.update(f"prices of widths: {width} bits"),
            )
            status.update("losses of widths")
            settings = mixed_precision(model, settings, spread, cost, dealt_mib * 2**20, lowest)
    with progress_console.status(f"{settings.method} on {len(spread)} pictures"):
        quantized = run(model, settings, spread)
        lowered = lower(quantized)
        exported = export_vit(lowered.model, source.images, Precision(steps=lowered.steps))
    description = Description(
        name=name, version=version, labels=source.labels, mean=source.mean, std=source.std, reveal=exported.reveal
    )
    ModelFolder(description, exported.program, exported.weights).save(out)
    save_model(model, out)
    save_quantized(quantized, settings, out / QUANTIZED_FOLDER)
    if json_output:
        print_json(
            {
                "model": name,
                "folder": str(out),
                "program_sha256": exported.program.digest,
                "quantization": settings.to_json(),
                "replaced": [asdict(one) for one in lowered.replaced],
            }
        )
        return
    rows = [
        ("folder", str(out)),
        ("method", f"{settings.method}, {settings.bits.weight} bits of weights, {settings.bits.activation} else"),
        ("program", f"{exported.program.digest[:16]}.., {len(exported.program.nodes)} nodes"),
        ("weights on shares", "the quantized ones"),
        *((f"{layer}", f"{bits.activation} bits of activations") for layer, bits in settings.layers),
    ]
    for one in lowered.replaced:
        rows.append((f"{one.quantizer}, at {len(one.places)} of the places", f"on shares {one.instead}"))
    print_table(f"quantized {name}", rows)
