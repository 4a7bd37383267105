"""``mpcvit quantize``: a trained model with few bits, in clear and on secret shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.module_options import ImageSize, Mean, Module, Std, Timm, WeightsFile
from mpcvit.cli.output import Json, command, print_grid, print_json, print_notices, print_table, progress_console
from mpcvit.cli.picture_options import SkipUnreadable
from mpcvit.errors import ConfigError
from mpcvit.quantize.config import Method
from mpcvit.store.out_folder import check_result, written

if TYPE_CHECKING:
    from mpcvit.engines.cost import Cost
    from mpcvit.quantize.config import QuantizeConfig

#: Calibration pictures of the quantizers, where nothing else is asked for.
_PICTURES = 128


@command
def quantize(
    data: Annotated[Path, typer.Option(help="Image folder for calibration; a trained folder's has a 'train' part.")],
    out: Annotated[Path, typer.Option(help="Folder to write the quantized and exported model to.")],
    name: Annotated[str, typer.Option(help="The model's public name.")],
    trained: Annotated[
        Path | None,
        typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model, without the next two."),
    ] = None,
    timm: Timm = None,
    module: Module = None,
    weights: WeightsFile = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    method: Annotated[
        str | None,
        typer.Option(help=f"Method: one of {', '.join(Method)}.", show_default="repq"),
    ] = None,
    weight_bits: Annotated[int | None, typer.Option(help="Bits of every layer's weights.", show_default="8")] = None,
    activation_bits: Annotated[
        int | None, typer.Option(help="Bits of the inputs of layers and attention products.", show_default="8")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A quantize.json with method and widths layer by layer, instead of these options."),
    ] = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Learn rounding and step sizes block by block.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="With --reconstruct: gradient steps per block.", show_default="1000")
    ] = None,
    dealt_mib: Annotated[
        float | None,
        typer.Option(help="Narrow activations further, layer by layer, until the dealer sends at most this many MiB."),
    ] = None,
    lowest_bits: Annotated[int, typer.Option(help="With --dealt-mib: fewest bits of activations.")] = 3,
    network: Annotated[str, typer.Option(help="Objective of the plan to price: loopback, lan or wan.")] = "wan",
    version: Annotated[str, typer.Option(help="The model's public version.")] = "1",
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Number of calibration pictures for the quantizers.", show_default=str(_PICTURES)),
    ] = None,
    allow_calibrated: Annotated[
        bool,
        typer.Option("--allow-calibrated", help="Take ranges that cannot be proven from calibration pictures."),
    ] = False,
    stock_wraps: Annotated[
        float, typer.Option(help="Largest accepted probability per image of a silent wrap on the stock engine.")
    ] = 0.01,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Quantize a trained model after training, export what of that secret shares keep, and say what they do not.

    The folder can be scored by every executor: mpcvit eval --executor float|quantized|reference|secure. Of a module
    (--module, --timm), linear layers and convolutions are quantized, and its folder is scored by the last two.
    """
    from mpcvit import zoo
    from mpcvit.engines.masked.objective import objective
    from mpcvit.export.proof import Proof
    from mpcvit.export.quantized.exporter import QuantizedExporter
    from mpcvit.export.source import SourceChoice, changeable, open_calibrated
    from mpcvit.export.traced.model import TracedModel
    from mpcvit.quantize.config import Bits
    from mpcvit.store.codec import plain
    from mpcvit.store.exported import DESCRIPTION_FILE
    from mpcvit.wire.reveal import LOGITS

    settings = _settings(config, method, weight_bits, activation_bits, reconstruct or None, steps)
    budget = None if dealt_mib is None else _bytes(dealt_mib)
    lowest = Bits(weight=settings.bits.weight, activation=settings.bits.activation if budget is None else lowest_bits)
    goal = objective(network)
    check_result(out, DESCRIPTION_FILE)
    choice = SourceChoice(
        trained=None if trained is None else zoo.folder(trained),
        timm=timm,
        module=module,
        weights=weights,
        image_size=image_size,
        mean=mean,
        std=std,
        data=data,
        skip_unreadable=skip_unreadable,
    )
    source, calibration = open_calibrated(choice, images, _PICTURES)
    model = changeable(source)
    reveal = LOGITS if source.description is None else source.description.reveal
    with _reports(settings.steps) as (say, learning):
        exporter = QuantizedExporter(
            model,
            calibration,
            source.images,
            goal,
            reveal,
            say,
            learning,
            source.normalisation,
            allow_calibrated,
            stock_wraps,
        )
        if budget is None:
            done = exporter.export(settings)
        else:
            done = exporter.export_within(exporter.widths(settings, lowest), budget)
        say("the model without quantizers, to compare")
        before = exporter.real_cost()
    settings, exported, lowered = done.config, done.exported, done.lowered
    with written(out) as folder:
        done.save(model, source.describe(name, version, exported.reveal), folder)
    proof, was, now = Proof.of(exported.program), _facts(before), _facts(done.cost)
    depth = 0 if isinstance(model, TracedModel) else model.config.depth
    patterns = [one.patterns(depth) for one in lowered.replaced]
    if json_output:
        replaced = zip(lowered.replaced, patterns, strict=True)
        print_json(
            {
                "model": name,
                "folder": str(out),
                "program_sha256": exported.program.digest,
                "quantization": plain(settings),
                "replaced": [{**asdict(one), "patterns": where} for one, where in replaced],
                "ranges": asdict(proof),
                "cost": {"network": network, "before": was, "after": now},
                **source.read,
            }
        )
        return
    print_notices(source.notices)
    rows = [
        ("folder", str(out)),
        ("method", f"{settings.method}, {settings.bits.weight} bits of weights, {settings.bits.activation} else"),
        ("program", f"{exported.program.digest[:16]}.., {len(exported.program.nodes)} nodes"),
        ("ranges", str(proof)),
        ("weights on shares", "the quantized ones"),
        *((f"{layer}", f"{bits.activation} bits of activations") for layer, bits in settings.layers),
    ]
    for one, where in zip(lowered.replaced, patterns, strict=True):
        rows.append((f"{one.quantizer}, at\n{chr(10).join(where)}", f"on shares {one.instead}"))
    print_table(f"quantized {name}", rows)
    grid = [
        [fact.replace("_", " "), f"{was[fact]:,}", f"{after:,}", f"{100 * (after / was[fact] - 1):+.1f} %"]
        for fact, after in now.items()
    ]
    print_grid(
        f"{settings.method}: {out}", ["one inference", "before", "after", "change"], grid, f"The plan for {network}."
    )


def _settings(
    config: Path | None,
    method: str | None,
    weight_bits: int | None,
    activation_bits: int | None,
    reconstruct: bool | None,
    steps: int | None,
) -> QuantizeConfig:
    """Return what is asked for by a file, or by options, of which None means that they were not given."""
    from mpcvit.quantize.config import Bits, QuantizeConfig
    from mpcvit.store.quantized import read_config

    options = {
        "--method": method,
        "--weight-bits": weight_bits,
        "--activation-bits": activation_bits,
        "--reconstruct": reconstruct,
        "--steps": steps,
    }
    given = [option for option, value in options.items() if value is not None]
    if config is not None and given:
        raise ConfigError(
            f"--config and {', '.join(given)}",
            expected="either the file or these options",
            remedy="Write into the file what you want, and leave the options out.",
        )
    if config is not None:
        return read_config(config)
    if steps is not None and not reconstruct:
        raise ConfigError(
            "--steps without --reconstruct", expected="both or neither", remedy="Add --reconstruct, or drop --steps."
        )
    if method is not None and method not in set(Method):
        raise ConfigError(f"method '{method}'", expected=", ".join(Method), remedy="Choose one of these.")
    return QuantizeConfig(
        method=Method.REPQ if method is None else Method(method),
        bits=Bits(
            weight=8 if weight_bits is None else weight_bits,
            activation=8 if activation_bits is None else activation_bits,
        ),
        reconstruct=bool(reconstruct),
        steps=1000 if steps is None else steps,
    )


def _bytes(dealt_mib: float) -> float:
    """Return the budget of ``--dealt-mib`` in bytes."""
    if not (math.isfinite(dealt_mib) and dealt_mib > 0):
        raise ConfigError(f"--dealt-mib {dealt_mib:g}", expected="a positive number", remedy="Correct --dealt-mib.")
    return dealt_mib * 2**20


@contextmanager
def _reports(steps: int) -> Iterator[tuple[Callable[[str], None], Callable[[str, int, float], None]]]:
    """Yield two callbacks while the terminal shows what is being done: what it is, and how far learning a part has
    come.

    Args:
        steps: of a part.
    """
    from rich.progress import Progress

    with Progress(console=progress_console, transient=True) as bar:
        work, learning = bar.add_task("", total=None), bar.add_task("", total=steps, visible=False)

        def say(text: str) -> None:
            bar.update(work, description=text)
            bar.update(learning, visible=False)

        def learnt(part: str, done: int, error: float) -> None:
            bar.update(learning, description=f"{part}, error {error:.3g}", completed=done, visible=True)

        yield say, learnt


def _facts(cost: Cost) -> dict[str, int]:
    """Return what an inference takes, in numbers that quantization may change."""
    return {
        "rounds": cost.rounds,
        "bytes_sent": cost.bytes_sent[0],
        "material_bytes": sum(cost.material_bytes),
    }
