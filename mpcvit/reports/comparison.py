"""Several models side by side: ``report.json``, ``report.png`` and ``report.html``, which needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import mpcvit
from mpcvit.measure.accuracy import Executor
from mpcvit.measure.record import Measured
from mpcvit.reports import style as report_style
from mpcvit.reports.files import write_files
from mpcvit.reports.style import ACCENT, INK, image, label_points, new_figure, png, style_axes

PAGE_FILE = "report.html"


def write(models: Sequence[Measured], folder: Path) -> None:
    """Write all three files into ``folder``."""
    picture = plot(models)
    write_files(folder, "report", models, picture, page(models, picture))


def table(models: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Return headings, of two lines each, and per model a row of cells; what was not measured is empty.

    Units are in the caption: with all executors and networks the table is as wide as a terminal.
    """
    executors = [one for one in Executor if any(one in model.accuracy for model in models)]
    networks = _networks(models)
    headings = ["\nmodel", *(f"top-1\n{executor[:5]}" for executor in executors)]
    headings += [f"online\n{network}" for network in networks] + ["\nrounds", "MB\nsent", "MB\ndealt"]
    rows = []
    for model in models:
        accuracy = (model.accuracy.get(executor) for executor in executors)
        latency = [model.latency.get(network) for network in networks]
        rows.append(
            [
                model.model,
                *("" if one is None else f"{100 * one['top1']:.2f}" for one in accuracy),
                *("" if one is None else f"{one['online_s']:.3g}" for one in latency),
                *_costs(next((one for one in reversed(latency) if one), None)),
            ]
        )
    return headings, rows


def caption(models: Sequence[Measured]) -> str:
    """Return what the numbers of the table are of."""
    counts = sorted({int(one["n"]) for model in models for one in model.accuracy.values()})
    scored = f"Top-1 in percent of {' or '.join(f'{count:,}' for count in counts)} pictures. " if counts else ""
    networks = _networks(models)
    return f"{scored}Seconds online; rounds and bytes of the plan for {networks[-1]}." if networks else scored


def plot(models: Sequence[Measured]) -> bytes:
    """Return accuracy over seconds of one secure inference as a PNG; a panel per network, a mark per model."""
    networks = _networks(models) or ["loopback"]
    figure = new_figure(5.2 * len(networks), 4.8)
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    drawn = []
    for axes, network in zip(panels, networks, strict=True):
        shown = [
            (model.model, (model.latency[network]["online_s"], 100 * model.top1))
            for model in models
            if network in model.latency and model.top1 is not None
        ]
        points = [point for _, point in shown]
        axes.scatter(
            [x for x, _ in points], [y for _, y in points], s=52, color=ACCENT, edgecolor="white", linewidth=1, zorder=3
        )
        axes.set_title(network, fontsize=10, color=INK)
        axes.set_xlabel("seconds of one secure inference, online", color=INK)
        axes.margins(0.2, 0.12)
        style_axes(axes)
        drawn.append((axes, points, [name for name, _ in shown]))
    panels[0].set_ylabel("top-1, %", color=INK)
    for axes, points, names in drawn:
        label_points(axes, points, names)
    return png(figure)


def page(models: Sequence[Measured], picture: bytes) -> str:
    """Return the comparison as one HTML page with no links to other files."""
    headings, rows = table(models)
    headings.append("heads")
    for model, row in zip(models, rows, strict=True):
        row.append(", ".join(f"{count} {kind}" for kind, count in model.heads.items()))
    body = _BODY.substitute(
        caption=escape(caption(models)),
        version=escape(mpcvit.__version__),
        image=image(picture, "Accuracy over seconds"),
        headings="".join(f"<th>{escape(heading.strip())}" for heading in headings),
        rows="".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows),
    )
    return report_style.page("mpcvit: models side by side", "", body)


def _networks(models: Sequence[Measured]) -> list[str]:
    """Return the networks that some model was timed on, fastest first."""
    return [name for name in ("loopback", "lan", "wan") if any(name in model.latency for model in models)]


def _costs(latency: dict[str, object] | None) -> tuple[str, str, str]:
    """Return rounds, bytes of one party and material of both."""
    if latency is None:
        return "", "", ""
    sent, material = latency["bytes_sent"], latency["material_bytes"]
    assert isinstance(sent, list) and isinstance(material, list)  # noqa: S101, PT018 - as Latency has them
    return str(latency["rounds"]), f"{max(sent) / 1e6:.3g}", f"{sum(material) / 1e6:.3g}"


_BODY = Template("""\
 <h1>Models side by side</h1>
 <p class=lead>Accuracy on test pictures against the online seconds of one inference on secret shares by two parties.
 $caption Sent is by one party; dealt is for both, ahead of the picture.</p>
 <figure>$image</figure>
 <div class=table><table><tr>$headings$rows</table></div>
 <footer>mpcvit $version</footer>
""")
