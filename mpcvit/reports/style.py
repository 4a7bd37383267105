"""What reports have in common: HTML pages that need nothing beside them, and plots in the same colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from string import Template

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

INK, ACCENT = "#1f2933", "#0b7285"
#: Places of a label beside its point, in points (1/72 inch), best first.
_OFFSETS = [(side * 7, up) for up in (0, 9, -9, 18, -18, 27, -27) for side in (1, -1)]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, for :func:`png`."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> None:
    """Draw a faint grid behind the data, no frame at the top and on the right."""
    axes.grid(color="#e4e7eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def label_points(axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str]) -> None:
    """Put a label beside each point, where it covers no other label and no point, if there is such a place near it.

    Call when all else is drawn.
    """
    if not points:
        return
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - axes are drawn in one
    figure.draw_without_rendering()  # fixes the layout, so that sizes in pixels are known
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in axes.transData.transform(points)]
    frame = axes.get_window_extent()
    for point, label in sorted(zip(points, labels, strict=True), reverse=True):
        text = axes.annotate(
            label,
            point,
            xytext=_OFFSETS[0],
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
            in_layout=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],  # over lines
            zorder=4,
        )
        for across, up in _OFFSETS:
            text.set_position((across, up))
            text.set_horizontalalignment("left" if across > 0 else "right")
            box = text.get_window_extent()
            if frame.x0 <= box.x0 and box.x1 <= frame.x1 and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def image(picture: bytes, description: str) -> str:
    """Return the HTML of a PNG file that lies in the page itself."""
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def page(title: str, style: str, body: str) -> str:
    """Return a page with links to nothing.

    Args:
        title: of the window, as text.
        style: CSS beside what all pages have.
        body: HTML.
    """
    return _PAGE.substitute(title=escape(title), style=style, body=body)


_PAGE = Template("""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
 :root { --ink: #1f2933; --soft: #52606d; --line: #e4e7eb; --paper: #fff; --ground: #f5f7fa; --accent: #0b7285 }
 * { box-sizing: border-box }
 body { margin: 0; background: var(--ground); color: var(--ink);
        font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
 main { max-width: 1050px; margin: 0 auto; padding: 32px 20px 64px }
 h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em }
 figure, article, .table { background: var(--paper); border: 1px solid var(--line); border-radius: 10px }
 figure { margin: 0 0 20px; padding: 12px } figure img { width: 100%; display: block }
 .table { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: 13.5px }
 th, td { padding: 7px 12px; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
 td { font-variant-numeric: tabular-nums } th { color: var(--soft); font-weight: 600 }
 tr:last-child td { border-bottom: 0 }
 p.lead { color: var(--soft); margin: 0 0 20px; max-width: 75ch }
 footer { margin-top: 36px; color: var(--soft); font-size: 12.5px }
$style</style>
<main>
$body</main>
</html>
""")
