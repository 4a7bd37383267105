"""All commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from mpcvit import __version__
from mpcvit.cli.audit import audit_app
from mpcvit.cli.bench import bench_app
from mpcvit.cli.collect_env import collect_env
from mpcvit.cli.compress import compress
from mpcvit.cli.config import config_app
from mpcvit.cli.cost import cost
from mpcvit.cli.data import data_app
from mpcvit.cli.demo import demo
from mpcvit.cli.diagnose import diagnose
from mpcvit.cli.evaluate import evaluate
from mpcvit.cli.explain import explain
from mpcvit.cli.health import health
from mpcvit.cli.infer import infer
from mpcvit.cli.ledger import ledger_app
from mpcvit.cli.model import model_app
from mpcvit.cli.preflight import preflight
from mpcvit.cli.provision import provision
from mpcvit.cli.quantize import quantize
from mpcvit.cli.report import report_app
from mpcvit.cli.search import search
from mpcvit.cli.serve import dealer_app, party_app
from mpcvit.cli.status import drain, status
from mpcvit.cli.token import token_app
from mpcvit.cli.train import train
from mpcvit.cli.zoo import zoo_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold shares
)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"mpcvit {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Private images, private Vision Transformers: inference on secret shares."""


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
app.add_typer(token_app, name="token")
app.add_typer(config_app, name="config")
app.add_typer(ledger_app, name="ledger")
app.add_typer(audit_app, name="audit")
app.command()(preflight)
app.command()(status)
app.command()(drain)
app.command()(diagnose)
app.command()(health)
app.command()(explain)
app.command()(collect_env)


def main() -> None:
    """Run the command line."""
    app()
