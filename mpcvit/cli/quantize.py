"""``mpcvit quantize``: a trained model with few bits, in clear and on secret shares."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.out_folder import make_folder
from mpcvit.cli.output import Json, command, print_grid, print_json, print_table, progress_console
from mpcvit.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch

    from mpcvit.cli.export_source import ExportSource
    from mpcvit.ops import Cost
    from mpcvit.quantize.config import QuantizeConfig

#: Calibration pictures of the quantizers, where nothing else is asked for.
_PICTURES = 128
_PLACE = re.compile(r"(?:blocks\.(\d+)\.)?(.+?)\.quantize_(\w+)")


@command
def quantize(
    trained: Annotated[Path, typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model.")],
    data: Annotated[Path, typer.Option(help="Image folder with a 'train' part, for calibration.")],
    out: Annotated[Path, typer.Option(help="Where the quantized and exported model goes.")],
    name: Annotated[str, typer.Option(help="The model's public name.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="minmax, percentile, mse, repq, adalog, mptq, is_vit, dopq, power_of_two.", show_default="repq"
        ),
    ] = None,
    weight_bits: Annotated[int | None, typer.Option(help="Of every layer's weights.", show_default="8")] = None,
    activation_bits: Annotated[
        int | None, typer.Option(help="Of what layers and attention products read.", show_default="8")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="quantize.json with method and widths layer by layer, instead of these options.")
    ] = None,
    reconstruct: Annotated[bool, typer.Option("--reconstruct", help="Learn roundings and steps by block.")] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="With --reconstruct: gradient steps per block.", show_default="1000")
    ] = None,
    dealt_mib: Annotated[
        float | None, typer.Option(help="Narrow activations further, layer by layer, until the dealer sends so little.")
    ] = None,
    lowest_bits: Annotated[int, typer.Option(help="With --dealt-mib: least bits of activations.")] = 3,
    network: Annotated[str, typer.Option(help="Whose plan the costs are of: loopback, lan, wan.")] = "wan",
    version: Annotated[str, typer.Option(help="Its version.")] = "1",
    images: Annotated[
        int | None, typer.Option(min=1, help="Calibration pictures of the quantizers.", show_default=str(_PICTURES))
    ] = None,
    json_output: Json = False,
) -> None:
    """Quantize a trained model after training, export what of that secret shares keep, and say what they do not.

    The folder can be scored by every executor: mpcvit eval --executor float|quantized|reference|secure.
    """
    from mpcvit import zoo
    from mpcvit.export.quantized import QuantizedExporter
    from mpcvit.models.files import load_model, save_model
    from mpcvit.program.model_folder import Description, ModelFolder
    from mpcvit.program.objective import objective
    from mpcvit.quantize.config import Bits
    from mpcvit.quantize.files import QUANTIZED_FOLDER, save_quantized
    from mpcvit.wire.reveal import LOGITS

    settings = _settings(config, method, weight_bits, activation_bits, reconstruct or None, steps)
    budget = None if dealt_mib is None else _bytes(dealt_mib)
    lowest = Bits(weight=settings.bits.weight, activation=settings.bits.activation if budget is None else lowest_bits)
    goal = objective(network)
    make_folder(out)
    trained = zoo.folder(trained)
    model = load_model(trained)
    source, calibration = _pictures(trained, data, images)
    reveal = LOGITS if source.description is None else source.description.reveal
    with _reports(settings.steps) as (say, learning):
        exporter = QuantizedExporter(model, calibration, source.images, goal, reveal, say, learning)
        if budget is None:
            done = exporter.export(settings)
        else:
            done = exporter.export_within(exporter.widths(settings, lowest), budget)
        say("the model without quantizers, to compare")
        before = exporter.real_cost()
    settings, exported, lowered = done.config, done.exported, done.lowered
    description = Description(
        name=name, version=version, labels=source.labels, mean=source.mean, std=source.std, reveal=exported.reveal
    )
    ModelFolder(description, exported.program, exported.weights).save(out)
    save_model(model, out)
    save_quantized(done.model, settings, out / QUANTIZED_FOLDER)
    was, now = _facts(before), _facts(done.cost)
    patterns = [_patterns(one.places, model.config.depth) for one in lowered.replaced]
    if json_output:
        replaced = zip(lowered.replaced, patterns, strict=True)
        print_json(
            {
                "model": name,
                "folder": str(out),
                "program_sha256": exported.program.digest,
                "quantization": settings.to_json(),
                "replaced": [{**asdict(one), "patterns": where} for one, where in replaced],
                "cost": {"network": network, "before": was, "after": now},
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
    """What is asked for by a file, or by options, of which None means that they were not given."""
    from mpcvit.quantize.config import Bits, Method, QuantizeConfig
    from mpcvit.quantize.files import read_config

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
    """The budget of ``--dealt-mib`` in bytes."""
    if not (math.isfinite(dealt_mib) and dealt_mib > 0):
        raise ConfigError(f"--dealt-mib {dealt_mib:g}", expected="a positive number", remedy="Correct --dealt-mib.")
    return dealt_mib * 2**20


def _pictures(trained: Path, data: Path, count: int | None) -> tuple[ExportSource, torch.Tensor]:
    """The model's source, and ``count`` pictures at even distances for the quantizers."""
    import torch

    from mpcvit.cli.export_source import Choice, open_source

    source, wanted = open_source(Choice(trained=trained, data=data)), count or _PICTURES
    found = source.images
    if wanted > len(found):
        found = open_source(Choice(trained=trained, data=data, images=wanted)).images
    if count is not None and count > len(found):
        raise InputError(
            f"--images {count} for a folder of {len(found)} pictures",
            expected=f"at most {len(found)}",
            remedy="Ask for fewer pictures, or point --data at more.",
        )
    wanted = min(wanted, len(found))
    return source, found[torch.arange(wanted) * len(found) // wanted]


@contextmanager
def _reports(steps: int) -> Iterator[tuple[Callable[[str], None], Callable[[str, int, float], None]]]:
    """Two callbacks while the terminal shows what is being done: what it is, and how far learning a part has come.

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
    """What an inference takes, in numbers that quantization may change."""
    return {
        "rounds": cost.rounds,
        "bytes_sent": cost.bytes_sent[0],
        "material_bytes": sum(cost.material_bytes),
    }


def _patterns(places: Iterable[str], depth: int) -> list[str]:
    """Where quantizers sit, blocks together: ``blocks.*.mlp.fc2 input``, or ``blocks.0,2.attn q`` for some of them."""
    blocks: dict[str, list[str]] = {}
    for place in places:
        match = _PLACE.fullmatch(place)
        assert match is not None  # noqa: S101 - so are places named
        number, owner, what = match.groups()
        blocks.setdefault(f"{owner} {what}", []).extend([number] if number else [])
    names = {
        what: "" if not numbers else f"blocks.{'*' if len(numbers) == depth else ','.join(numbers)}."
        for what, numbers in blocks.items()
    }
    return [f"{where}{what}" for what, where in names.items()]
