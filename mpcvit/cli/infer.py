"""``mpcvit infer``: classify a picture with running parties."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mpcvit.cli.output import Json, command, mib, print_json, print_table, progress_console
from mpcvit.client import Client, Inference


@command
def infer(
    image: Annotated[Path, typer.Argument(help="A picture of the model's size.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The client's YAML file.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Needed if the parties serve several.")] = None,
    json_output: Json = False,
) -> None:
    """Split a picture into shares, let the parties classify it, join the answer."""
    with Client.from_config(config) as client:
        answer = infer_with_progress(client, image, model)
    if json_output:
        print_json({"image": str(image), **describe(answer)})
        return
    rows = [
        (label, f"place {place}" if probability is None else f"{probability:.4f}")
        for place, (label, probability) in enumerate(answer.top(3 if answer.reveal.logits else None), start=1)
    ]
    rows += [
        ("the model reveals", str(answer.reveal)),
        ("online", f"{answer.online_s:.2f} s"),
        ("offline", f"{answer.offline_s:.2f} s"),
        ("rounds", str(answer.rounds)),
        ("sent per party", ", ".join(mib(stats.bytes_sent) for stats in answer.stats)),
    ]
    print_table(f"{image.name}: {answer.label}", rows)


def infer_with_progress(client: Client, image: Path, model: str | None = None) -> Inference:
    """``client.infer`` under a progress bar on standard error."""
    from rich.progress import Progress

    with Progress(console=progress_console, transient=True) as bar:
        task = bar.add_task("sharing", total=1)
        return client.infer(
            image,
            model,
            progress=lambda phase, done, total: bar.update(task, description=phase, completed=done, total=total),
        )


def describe(answer: Inference) -> dict[str, Any]:
    """An answer for ``--json``: ``probabilities`` only if they are revealed."""
    revealed: dict[str, Any] = {"top": [label for label, _ in answer.top(len(answer.ranking))]}
    if answer.reveal.logits:
        revealed["probabilities"] = dict(zip(answer.labels, map(float, answer.probabilities), strict=True))
    return {
        "model": answer.model,
        "label": answer.label,
        "reveal": str(answer.reveal.kind),
        **revealed,
        "session_id": answer.session_id,
        "online_s": answer.online_s,
        "offline_s": answer.offline_s,
        "rounds": answer.rounds,
        "bytes_sent": [stats.bytes_sent for stats in answer.stats],
        "material_bytes": [stats.material_bytes for stats in answer.stats],
    }
