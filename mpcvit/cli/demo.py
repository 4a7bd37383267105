"""``mpcvit demo``: everything once, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mpcvit.cli.answer import describe, print_answer
from mpcvit.cli.infer import infer_with_progress
from mpcvit.cli.output import (
    Json,
    command,
    engine_override,
    literal,
    mib,
    print_json,
    print_notices,
    progress_console,
    visible,
)
from mpcvit.cli.picture_options import FitOption
from mpcvit.client import Client, Inference
from mpcvit.client.answers.classification import softmax
from mpcvit.picture import Fit, read_picture


@command
def demo(
    image: Annotated[Path | None, typer.Option(help="A picture, as for infer. Default: a bundled one.")] = None,
    model: Annotated[str, typer.Option(help="A shipped model's name, or an exported model's folder.")] = "",
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    engine: Annotated[
        str, typer.Option(help="Engine: fast (two parties) or stock. Default: fast for two parties.")
    ] = "",
    fit: FitOption = "",
    json_output: Json = False,
) -> None:
    """Start a dealer and two parties, classify a picture on secret shares, compare with plaintext, stop everything."""
    from mpcvit import zoo
    from mpcvit.store.exported import ModelFolder
    from mpcvit.store.shared import share_model
    from parties.local.cluster import LocalCluster
    from parties.local.scratch_folder import scratch_folder

    say = progress_console.print
    folder = zoo.folder(model or zoo.DEFAULT)
    picture = image or zoo.PICTURES / "ship.jpg"
    exported = ModelFolder.load(folder)
    size = exported.picture_size
    read = read_picture(picture, size, Fit.parse(fit))  # one that does not fit is refused before the rest
    print_notices(() if json_output else read.notices)
    with scratch_folder("mpcvit-demo-") as scratch:
        say(f"sharing the weights of [bold]{escape(folder.name)}[/] among {parties} parties")
        _, shares = share_model(exported, parties, scratch / "shares")
        cluster = LocalCluster(shares, scratch, overrides=engine_override(engine, parties))
        say(f"starting {', '.join(cluster.roles)}: one process each, mutual TLS between all")
        with cluster, Client.from_config(cluster.client_config) as client:
            say(f"classifying [bold]{escape(visible(picture.name))}[/]")
            answer = infer_with_progress(client, read.pixels)
        say("all processes stopped")
    if not answer.reveal.kind.facts.ranked:  # there is no likeliest label to compare
        if json_output:
            print_json({"model": folder.name, "image": picture.name, **describe(answer), "notices": list(read.notices)})
        else:
            print_answer(picture.name, answer)
        return
    plain = _plain_logits(folder, read.pixels, answer)
    difference = None if plain is None or not answer.reveal.logits else float(np.abs(answer.logits - plain).max())
    probabilities = None if plain is None else softmax(plain)
    if json_output:
        print_json(
            {
                "model": folder.name,
                "image": picture.name,
                **describe(answer),
                "notices": list(read.notices),
                "label_plaintext": None if plain is None else answer.labels[int(plain.argmax())],
                "probabilities_plaintext": None
                if probabilities is None
                else dict(zip(answer.labels, map(float, probabilities), strict=True)),
                "max_abs_logit_diff": difference,
            }
        )
        return
    _show(picture.name, answer, probabilities, difference)


def _plain_logits(folder: Path, pixels: npt.NDArray[Any], answer: Inference) -> npt.NDArray[np.float64] | None:
    """Return logits [classes] in clear: of the float model, or of the Program where the folder has no float model.

    None where the Program gives labels alone.
    """
    from mpcvit.data.image_set import ImageSet
    from mpcvit.measure.accuracy import float_logits, reference_logits
    from mpcvit.store.trained import CONFIG_FILE

    picture = ImageSet(pixels[None].astype(np.uint8), np.zeros(1, dtype=np.int64), answer.labels)
    if (folder / CONFIG_FILE).exists():
        return np.asarray(float_logits(folder, picture)[0], dtype=np.float64)
    return np.asarray(reference_logits(folder, picture)[0], dtype=np.float64) if answer.reveal.logits else None


def _show(name: str, answer: Inference, plain: npt.NDArray[np.float64] | None, difference: float | None) -> None:
    table = Table(title=f"{escape(visible(name))} is a [bold]{escape(visible(answer.label))}[/]", title_justify="left")
    for heading in ("label", "secure", "plaintext"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    secure = answer.top(min(3, len(answer.ranking)))
    for place, (index, (label, probability)) in enumerate(zip(answer.ranking, secure, strict=False), start=1):
        found = f"place {place}" if probability is None else f"{probability:.4f}"
        table.add_row(literal(label), found, "unknown" if plain is None else f"{plain[index]:.4f}")
    console = Console()
    console.print(table)
    facts = Table(show_header=False, box=None)
    for fact, value in (
        ("the model reveals", str(answer.reveal)),
        ("largest logit difference", "not revealed" if difference is None else f"{difference:.4f}"),
        ("online", f"{answer.online_s:.2f} s"),
        ("offline", f"{answer.offline_s:.2f} s (correlated randomness from the dealer, independent of the picture)"),
        ("rounds", str(answer.rounds)),
        ("sent by each party", ", ".join(mib(stats.bytes_sent) for stats in answer.stats)),
        ("received from the dealer", ", ".join(mib(stats.material_bytes) for stats in answer.stats)),
    ):
        facts.add_row(fact, value)
    console.print(facts)
    console.print("[dim]All parties ran on this machine: a demonstration, not privacy.[/]")
