"""All commands together."""

from __future__ import annotations

import typer

from mpcvit.cli.bench import bench_app
from mpcvit.cli.compress import compress
from mpcvit.cli.cost import cost
from mpcvit.cli.data import data_app
from mpcvit.cli.demo import demo
from mpcvit.cli.diagnose import diagnose
from mpcvit.cli.evaluate import evaluate
from mpcvit.cli.health import health
from mpcvit.cli.infer import infer
from mpcvit.cli.model import model_app
from mpcvit.cli.provision import provision
from mpcvit.cli.quantize import quantize
from mpcvit.cli.report import report_app
from mpcvit.cli.search import search
from mpcvit.cli.serve import dealer_app, party_app
from mpcvit.cli.train import train
from mpcvit.cli.zoo import zoo_app

app = typer.Typer(
    help="Private images, private Vision Transformers: inference on secret shares.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold shares
)
app.command()(demo)
app.command()(infer)
app.add_typer(party_app, name="party")
app.add_typer(dealer_app, name="dealer")
app.add_typer(model_app, name="model")
app.command()(cost)
app.add_typer(bench_app, name="bench")
app.command("eval")(evaluate)
app.add_typer(report_app, name="report")
app.add_typer(zoo_app, name="zoo")
app.command()(train)
app.command()(compress)
app.command()(quantize)
app.command()(search)
app.add_typer(data_app, name="data")
app.command()(provision)
app.command()(diagnose)
app.command()(health)


def main() -> None:
    """Run the command line."""
    app()
