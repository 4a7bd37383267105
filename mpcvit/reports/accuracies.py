"""Executors side by side: what compression, quantization, fixed point and shares do to a model's accuracy.

``accuracy.json``, ``accuracy.png`` and ``accuracy.html``, which needs nothing beside it.
"""

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
from mpcvit.reports.style import INK, image, new_figure, png, style_axes

PAGE_FILE = "accuracy.html"
_COLOURS = {
    Executor.FLOAT: "#52606d",
    Executor.QUANTIZED: "#d9822b",
    Executor.REFERENCE: "#0b7285",
    Executor.SECURE: "#2b8a3e",
}


def write(models: Sequence[Measured], folder: Path) -> None:
    """Write all three files into ``folder``."""
    picture = plot(models)
    write_files(folder, "accuracy", models, picture, page(models, picture))


def table(models: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Return headings, and per model a row of cells, by the executors of the plot; what was not scored is empty."""
    rows = []
    for model in models:
        scores = (model.accuracy.get(executor) for executor in _COLOURS)
        rows.append(
            [model.model, *("" if one is None else f"{100 * one['top1']:.2f} % of {one['n']:,}" for one in scores)]
        )
    return ["model", *_COLOURS], rows


def plot(models: Sequence[Measured]) -> bytes:
    """Return a line per model and a mark per executor, as a PNG."""
    figure = new_figure(7.5, 1.4 + 0.5 * len(models))
    axes = figure.subplots()
    for executor, colour in _COLOURS.items():
        scored = [(row, model.accuracy[executor]) for row, model in enumerate(models) if executor in model.accuracy]
        if scored:
            share = [100 * float(one["top1"]) for _, one in scored]
            rows = [row for row, _ in scored]
            axes.scatter(share, rows, s=70, color=colour, edgecolor="white", linewidth=1, zorder=3, label=executor)
    axes.set_yticks(range(len(models)), [model.model for model in models])
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlabel("top-1, %", color=INK)
    axes.margins(x=0.1)
    style_axes(axes)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=len(_COLOURS), frameon=False)
    return png(figure)


def page(models: Sequence[Measured], picture: bytes) -> str:
    """Return the accuracies as one HTML page with no links to other files."""
    headings, rows = table(models)
    body = _BODY.substitute(
        version=escape(mpcvit.__version__),
        image=image(picture, "Accuracy by executor"),
        headings="".join(f"<th>{escape(heading)}" for heading in headings),
        rows="".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows),
    )
    return report_style.page("mpcvit: accuracy by executor", "", body)


_BODY = Template("""\
 <h1>Accuracy by executor</h1>
 <p class=lead>Top-1 of the same models on test pictures: in float, with the quantizers of their method, on integers in
 clear as the secure engine computes, and by real parties on secret shares.</p>
 <figure>$image</figure>
 <div class=table><table><tr>$headings$rows</table></div>
 <footer>mpcvit $version</footer>
""")
