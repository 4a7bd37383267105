"""A search's results as files: ``pareto.json``, ``pareto.png`` and ``report.html``, which needs nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape
from itertools import cycle
from pathlib import Path
from string import Template

import mpcvit
from mpcvit.link_profile import LinkProfile
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind, GateAxis
from mpcvit.reports import style as report_style
from mpcvit.reports.style import ACCENT, INK, image, label_points, new_figure, png, style_axes
from mpcvit.search.found import Found
from mpcvit.search.trial import Trial, best
from mpcvit.store.whole_file import whole_file, write_whole

PARETO_FILE, PLOT_FILE, REPORT_FILE = "pareto.json", "pareto.png", "report.html"

#: Told apart by people with any colour vision (Okabe and Ito 2008), and a few tints of these.
_PALETTE = ("#d55e00", "#0072b2", "#56b4e9", "#cc79a7", "#e69f00", "#009e73", "#8c6bb1", "#b3a125", "#7a8b99")
_COLOURS = dict(zip(AttentionKind, cycle(_PALETTE), strict=False))
_MLP_COLOURS = dict(zip(Activation, cycle(("#d55e00", "#e69f00", "#56b4e9", "#d7dde3")), strict=False))
_FAINT, _TINT = "#9aa5b1", "#7cc0c9"


def write(found: Found, folder: Path) -> None:
    """Write all three files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = plot(found)
    write_whole(folder / PARETO_FILE, json.dumps(found.to_json(), indent=1) + "\n")
    with whole_file(folder / PLOT_FILE) as partial:
        partial.write_bytes(picture)
    write_whole(folder / REPORT_FILE, page(found, picture))


def plot(found: Found) -> bytes:
    """Return accuracy over seconds as a PNG: all trials, the Pareto set joined by steps, the budget."""
    figure = new_figure(8.4, 4.6)
    axes = figure.add_subplot()
    front = best(found.trials)
    names = {trial.name for trial in front}
    rest = [trial for trial in found.trials if trial.name not in names]
    axes.scatter(
        [t.seconds for t in rest], [100 * t.accuracy for t in rest], s=26, color=_FAINT, alpha=0.7, label="tried"
    )
    axes.step(
        [t.seconds for t in front], [100 * t.accuracy for t in front], where="post", color=ACCENT, lw=1.4, alpha=0.6
    )
    axes.scatter(
        [t.seconds for t in front],
        [100 * t.accuracy for t in front],
        s=58,
        color=ACCENT,
        edgecolor="white",
        linewidth=1,
        zorder=3,
        label="Pareto set",
    )
    if found.budget is not None:
        axes.axvline(found.budget, color=_PALETTE[0], lw=1, ls="--", label=f"budget {found.budget:g} s")
    axes.set_xlabel(f"predicted seconds of one secure inference ({found.profile.name})", color=INK)
    axes.set_ylabel("accuracy on held-out pictures, %", color=INK)
    axes.margins(0.08)
    style_axes(axes)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    label_points(axes, [(t.seconds, 100 * t.accuracy) for t in front], [t.name for t in front])
    return png(figure)


def page(found: Found, picture: bytes) -> str:
    """Return the report as one HTML page with no links to other files."""
    front = best(found.trials)
    names = {trial.name for trial in front}
    rest = sorted((t for t in found.trials if t.name not in names), key=lambda t: (t.seconds, -t.accuracy))
    longest = max((trial.seconds for trial in found.trials), default=1.0)
    facts = [
        ("network", _network(found.profile)),
        ("tried", str(len(found.trials))),
        ("in the Pareto set", str(len(front))),
        *([("budget", f"{found.budget:g} s")] if found.budget is not None else []),
        *found.facts,
    ]
    body = _BODY.substitute(
        title=escape(found.title),
        version=escape(mpcvit.__version__),
        facts="".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts),
        image=image(picture, "Accuracy over seconds of all trials"),
        legend=_legend(found.trials),
        front="".join(_card(trial, longest) for trial in front) or "<p>Nothing was tried yet.</p>",
        count=str(len(rest)),
        rest="".join(_row(trial) for trial in rest),
    )
    return report_style.page(f"mpcvit search: {found.title}", _STYLE, body)


def _network(profile: LinkProfile) -> str:
    if not profile.emulated:
        return f"{profile.name}: processes of one machine"
    return f"{profile.name}: {1e3 * profile.delay_s:g} ms one way, {8e-6 * profile.bytes_per_s:g} Mbit/s"


def _legend(trials: list[Trial]) -> str:
    """Return what the colours of heads and activations mean, as far as they occur."""
    heads = {kind for trial in trials for block in trial.config.blocks for kind in block.heads}
    activations = {block.activation for trial in trials for block in trial.config.blocks}
    chips = [_chip(_COLOURS[kind], kind, "sq") for kind in AttentionKind if kind in heads]
    bars = [_chip(_MLP_COLOURS[kind], kind, "bar") for kind in Activation if kind in activations]
    return f"<span class=what>heads</span>{''.join(chips)}<span class=what>MLP</span>{''.join(bars)}"


def _chip(colour: str, name: str, shape: str) -> str:
    return f'<span class=key><i class={shape} style="background:{colour}"></i>{escape(name)}</span>'


def _card(trial: Trial, longest: float) -> str:
    config = trial.config
    return _CARD.substitute(
        name=escape(trial.name),
        method=escape(trial.method),
        accuracy=f"{100 * trial.accuracy:.1f}",
        epochs=str(trial.epochs),
        seconds=f"{trial.seconds:.3g}",
        rounds=f"{trial.price.rounds:,}",
        sent=f"{trial.price.bytes_sent / 1e6:.3g}",
        material=f"{trial.price.material_bytes / 1e6:.3g}",
        size=f"{config.depth} blocks, {_range(len(block.heads) for block in config.blocks)} heads, width {config.dim},"
        f" MLP {_range(block.hidden for block in config.blocks)}",
        blocks="".join(_blocks(config)),
        bars="".join(_bars(trial, longest)),
    )


def _range(values: Iterable[int]) -> str:
    """Return the value, or the least and the largest of several."""
    found = sorted(set(values))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _blocks(config: ViTConfig) -> Iterator[str]:
    """Yield per block a column: a square per head, under them a bar for the MLP, filled as far as its gate applies
    it.
    """
    for number, block in enumerate(config.blocks):
        kinds, activation, gate = block.heads, block.activation, block.gate
        sizes = {GateAxis.TOKEN: config.block_tokens[number].mlp.count, GateAxis.CHANNEL: block.hidden}
        share = 1.0 if gate is None else len(gate.kept) / sizes[gate.axis]
        where = "" if gate is None else f" at {len(gate.kept)} of {sizes[gate.axis]} {gate.axis}s"
        title = f"block {number}: {', '.join(kinds)}; {activation}{where}; norms {', '.join(block.norms)}"
        heads = "".join(f'<i class=sq style="background:{_COLOURS[kind]}"></i>' for kind in sorted(kinds))
        colour, idle = _MLP_COLOURS[activation], _MLP_COLOURS[Activation.IDENTITY]
        fill = f"linear-gradient(90deg,{colour} {100 * share:.0f}%,{idle} {100 * share:.0f}%)"
        yield f'<div class=block title="{escape(title)}">{heads}<i class=bar style="background:{fill}"></i>'
        yield f"<small>{number}</small></div>"


def _bars(trial: Trial, longest: float) -> Iterator[str]:
    """Yield the price as a bar of parts, as long as the price relative to the most expensive trial."""
    colours = {"attention": ACCENT, "mlp": _TINT}
    for name, seconds in trial.price.parts:
        colour = colours.get(name.rpartition(".")[2], _FAINT)
        title = f"{name}: {seconds:.3g} s"
        yield f'<i style="width:{100 * seconds / longest:.2f}%;background:{colour}" title="{escape(title)}"></i>'


def _row(trial: Trial) -> str:
    cells = (f"{100 * trial.accuracy:.1f} %", f"{trial.seconds:.3g} s", f"{trial.price.rounds:,}", str(trial.epochs))
    numbers = "".join(f"<td class=n>{cell}</td>" for cell in cells)
    size = f"{trial.config.dim} / {_range(block.hidden for block in trial.config.blocks)}"
    map_ = f'<div class="blocks small">{"".join(_blocks(trial.config))}</div>'
    return f"<tr><td>{escape(trial.name)}</td>{numbers}<td class=n>{size}</td><td>{map_}</td></tr>"


_CARD = Template("""
<article>
 <header><h3>$name</h3><span class=method>$method</span></header>
 <div class=numbers>
  <div><b>$accuracy<small> %</small></b><span>accuracy, $epochs epochs</span></div>
  <div><b>$seconds<small> s</small></b><span>secure inference</span></div>
  <div><b>$rounds</b><span>rounds</span></div>
  <div><b>$sent<small> MB</small></b><span>sent by each party</span></div>
  <div><b>$material<small> MB</small></b><span>from the dealer, ahead</span></div>
 </div>
 <div class=blocks>$blocks</div>
 <div class=price>$bars</div>
 <p class=size>$size</p>
</article>""")

_STYLE = """\
 h1 em { color: var(--accent); font-style: normal }
 h2 { font-size: 17px; margin: 36px 0 12px } h3 { font-size: 16px; margin: 0 }
 dl { display: flex; flex-wrap: wrap; gap: 10px 32px; margin: 0 0 20px } dt { color: var(--soft); font-size: 12.5px }
 dd { margin: 0; font-weight: 600 }
 article { padding: 16px 18px; margin-bottom: 14px }
 article header { display: flex; gap: 10px; align-items: baseline }
 .method { font-size: 12.5px; color: var(--accent); background: #e6f4f6; border-radius: 99px; padding: 1px 9px }
 .numbers { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 10px 0 14px }
 .numbers b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; line-height: 1.25 }
 .numbers b small { font-size: 13px; font-weight: 500; color: var(--soft) }
 .numbers span, .size { color: var(--soft); font-size: 12.5px } .size { margin: 8px 0 0 }
 i { display: inline-block; font-style: normal }
 .blocks { display: flex; flex-wrap: wrap; gap: 7px }
 .block { display: grid; justify-items: center; gap: 3px; width: 22px }
 .sq { width: 15px; height: 15px; border-radius: 4px } .bar { width: 22px; height: 7px; border-radius: 3px }
 .block small { font-size: 10px; color: var(--soft); line-height: 1 }
 .small .sq { width: 9px; height: 9px; border-radius: 2.5px } .small .bar { width: 14px; height: 4px }
 .small .block { width: 14px; gap: 2px } .small { gap: 4px } .small small { display: none }
 .price { display: flex; gap: 1px; height: 12px; margin-top: 16px; background: var(--ground); border-radius: 4px;
          overflow: hidden }
 .price i { height: 100% }
 .legend { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 16px; margin: 0 0 14px; font-size: 13px }
 .legend .what { color: var(--soft) } .key { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap }
 .key i { flex: none }
 .key .bar { width: 18px }
 details summary { cursor: pointer; font-weight: 600; margin: 28px 0 10px }
 td.n, th.n { text-align: right }
"""

_BODY = Template("""\
 <h1>mpcvit search <em>$title</em></h1>
 <p class=lead>Configurations of a Vision Transformer that no other one tried beats in both accuracy and seconds of
 secure inference. Seconds are predicted from the runtime's own plan of every configuration.</p>
 <dl>$facts</dl>
 <figure>$image</figure>
 <h2>Pareto set, cheapest first</h2>
 <div class=legend>$legend<span class=what>price bar</span>
  <span class=key><i class=bar style="background:#0b7285"></i>attention</span>
  <span class=key><i class=bar style="background:#7cc0c9"></i>MLP</span>
  <span class=key><i class=bar style="background:#9aa5b1"></i>stem, head</span></div>
 $front
 <details><summary>The other $count trials</summary>
  <div class=table><table>
   <tr><th>trial<th class=n>accuracy<th class=n>price<th class=n>rounds<th class=n>epochs<th class=n>width / MLP
   <th>blocks</tr>
   $rest
  </table></div>
 </details>
 <footer>A column per block: a square per head, below them the MLP's activation, filled as far as a gate keeps it.
 Point at a block or a part of a price bar to see its numbers. mpcvit $version.</footer>
""")
