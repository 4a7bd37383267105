"""Several models side by side: ``report.json``, ``report.png`` and ``report.html``, which needs nothing beside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import mpcvit
from mpcvit.bench.accuracy import Executor
from mpcvit.bench.measured import Measured

JSON_FILE, PLOT_FILE, PAGE_FILE = "report.json", "report.png", "report.html"
#: Told apart by people with any colour vision (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73")
_INK = "#1f2933"


def write(models: Sequence[Measured], folder: Path) -> None:
    """Write all three files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = plot(models)
    document = {"version": mpcvit.__version__, "models": [asdict(model) for model in models]}
    (folder / JSON_FILE).write_text(json.dumps(document, indent=1) + "\n")
    (folder / PLOT_FILE).write_bytes(picture)
    (folder / PAGE_FILE).write_text(page(models, picture))


def table(models: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Headings, and per model a row of cells; what was not measured is empty."""
    executors = [one for one in Executor if any(one in model.accuracy for model in models)]
    networks = _networks(models)
    headings = ["model", *(f"top-1, {executor}" for executor in executors)]
    headings += [f"online, {network}" for network in networks] + ["rounds", "MB sent", "MB material", "heads"]
    rows = []
    for model in models:
        accuracy = (model.accuracy.get(executor) for executor in executors)
        latency = [model.latency.get(network) for network in networks]
        rows.append(
            [
                model.model,
                *("" if one is None else f"{100 * one['top1']:.2f} % of {one['n']:,}" for one in accuracy),
                *("" if one is None else f"{one['online_s']:.3g} s" for one in latency),
                # with several networks the plans differ; these are the last one's, the slowest
                *_costs(next((one for one in reversed(latency) if one), None)),
                ", ".join(f"{count} {kind}" for kind, count in model.heads.items()),
            ]
        )
    return headings, rows


def plot(models: Sequence[Measured]) -> bytes:
    """Accuracy over seconds of one secure inference as a PNG; a mark per model and network."""
    figure = Figure(figsize=(8.4, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, network in zip(_COLOURS, _networks(models), strict=False):
        points = [
            (model.latency[network]["online_s"], 100 * model.top1, model.model)
            for model in models
            if network in model.latency and model.top1 is not None
        ]
        axes.scatter(
            [point[0] for point in points],
            [point[1] for point in points],
            s=52,
            color=colour,
            edgecolor="white",
            linewidth=1,
            zorder=3,
            label=network,
        )
        for seconds, percent, name in points:
            axes.annotate(name, (seconds, percent), xytext=(6, 4), textcoords="offset points", fontsize=7.5, color=_INK)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of one secure inference, online", color=_INK)
    axes.set_ylabel("top-1, %", color=_INK)
    axes.grid(color="#e4e7eb", lw=0.8, which="both")
    axes.set_axisbelow(True)
    axes.margins(0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.collections:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def page(models: Sequence[Measured], picture: bytes) -> str:
    """The comparison as one HTML page with no links to other files."""
    headings, rows = table(models)
    return _PAGE.substitute(
        version=escape(mpcvit.__version__),
        picture=base64.b64encode(picture).decode(),
        headings="".join(f"<th>{escape(heading)}" for heading in headings),
        rows="".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows),
    )


def _networks(models: Sequence[Measured]) -> list[str]:
    """The networks that some model was timed on, fastest first."""
    return [name for name in ("loopback", "lan", "wan") if any(name in model.latency for model in models)]


def _costs(latency: dict[str, object] | None) -> tuple[str, str, str]:
    """Rounds, bytes of one party and material of both."""
    if latency is None:
        return "", "", ""
    sent, material = latency["bytes_sent"], latency["material_bytes"]
    assert isinstance(sent, list) and isinstance(material, list)  # noqa: S101, PT018 - as Latency has them
    return str(latency["rounds"]), f"{max(sent) / 1e6:.3g}", f"{sum(material) / 1e6:.3g}"


_PAGE = Template("""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>mpcvit: models side by side</title>
<style>
 body { margin: 0; background: #f5f7fa; color: #1f2933;
        font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
 main { max-width: 1100px; margin: 0 auto; padding: 32px 20px 64px }
 h1 { font-size: 26px; margin: 0 0 4px }
 p, footer { color: #52606d; max-width: 75ch } footer { margin-top: 32px; font-size: 12.5px }
 figure, .table { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; margin: 0 0 20px; padding: 12px }
 figure img { width: 100%; display: block }
 .table { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: 13.5px }
 th, td { padding: 7px 12px; border-bottom: 1px solid #e4e7eb; text-align: left; white-space: nowrap;
          font-variant-numeric: tabular-nums }
 th { color: #52606d; font-weight: 600 } tr:last-child td { border-bottom: 0 }
</style>
<main>
 <h1>Models side by side</h1>
 <p>Accuracy on test pictures against the seconds of one inference on secret shares by two parties. Rounds, bytes sent
 by one party and material for both are those of the plan for the slowest network measured.</p>
 <figure><img alt="Accuracy over seconds" src="data:image/png;base64,$picture"></figure>
 <div class=table><table><tr>$headings$rows</table></div>
 <footer>mpcvit $version</footer>
</main>
</html>
""")
