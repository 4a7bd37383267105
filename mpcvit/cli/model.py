"""``mpcvit model``: what the owner of a model does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpcvit.cli.model_check import check
from mpcvit.cli.model_rollout import activate, load
from mpcvit.cli.module_options import ImageSize, Mean, Module, Std, Timm, WeightsFile
from mpcvit.cli.output import Json, command, print_json, print_notices, print_table
from mpcvit.cli.picture_options import SkipUnreadable
from mpcvit.errors import ConfigError
from mpcvit.store.out_folder import check_empty, check_folder, check_result, written

if TYPE_CHECKING:
    from mpcvit.export.budgets.export import ExportedBudget
    from mpcvit.export.exported import Exported
    from mpcvit.models.prefix import Prefix

model_app = typer.Typer(help="Export, check, share and roll out models.", no_args_is_help=True)
model_app.command("check")(check)
model_app.command("load")(load)
model_app.command("activate")(activate)


@model_app.command("export")
@command
def export(
    out: Annotated[Path, typer.Option(help="Folder to write the exported model to.")],
    name: Annotated[str, typer.Option(help="The model's public name.")],
    trained: Annotated[
        Path | None,
        typer.Argument(help="Folder with config.json and model.safetensors, or a shipped model, without the next two."),
    ] = None,
    timm: Timm = None,
    module: Module = None,
    weights: WeightsFile = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    classes: Annotated[
        int | None, typer.Option(help="With --timm: number of classes, if not the model's default.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Image folder for calibration; a trained folder's has a 'train' part.")
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="With --timm or --module: calibrate on noise, for timing only.")
    ] = False,
    version: Annotated[str, typer.Option(help="The model's public version.")] = "1",
    images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Calibration pictures. Default: 512; 32 with --timm, --module or above 64 pixels a side.",
        ),
    ] = None,
    stock_wraps: Annotated[
        float, typer.Option(help="Largest accepted probability per image of a silent wrap on the stock engine.")
    ] = 0.01,
    allow_calibrated: Annotated[
        bool,
        typer.Option(
            "--allow-calibrated",
            help="Take ranges that cannot be proven from the calibration pictures: values beyond are wrong "
            "without notice, unless with --guards.",
        ),
    ] = False,
    guards: Annotated[
        bool,
        typer.Option(
            "--guards", help="Guard every gate: clients refuse answers if a value left its range. Costs no round."
        ),
    ] = False,
    reveal: Annotated[
        str,
        typer.Option(
            help="What the model reveals to clients: logits, label, topk, scores, tags, vector, scalar, map or match."
        ),
    ] = "logits",
    top: Annotated[int | None, typer.Option(help="With topk: number of labels, likeliest first.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="With tags: least score of a label, 0.5 by default. With match: least cosine."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Text file with a label's name a line, where --data has other classes.")
    ] = None,
    factors: Annotated[
        str, typer.Option(help="Layers of low rank: merged (fewer rounds) or kept (fewer products and weights).")
    ] = "merged",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="One more Program on the same weights, NAME=PART:COUNT,..: the first blocks (depth), heads of a block "
            "(heads) or channels of an MLP (hidden). Can be repeated: --budget fast=depth:4,hidden:128."
        ),
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> None:
    """Turn a trained model, a backbone of timm's or any module into a Program with integer weights."""
    from mpcvit import zoo
    from mpcvit.cli.budgets import parse_budgets
    from mpcvit.data.label_file import read_labels
    from mpcvit.engines.crypten.cost import stock_cost
    from mpcvit.export.budgets.export import export_model_budgets
    from mpcvit.export.builder import Precision
    from mpcvit.export.factors import parse_factors
    from mpcvit.export.model import export_model
    from mpcvit.export.proof import Proof
    from mpcvit.export.source import SourceChoice, open_source
    from mpcvit.export.traced.model import TracedModel
    from mpcvit.store.budgets import BUDGETS_FOLDER, BudgetProgram
    from mpcvit.store.exported import DESCRIPTION_FILE, ModelFolder
    from mpcvit.store.quantized import QUANTIZED_FOLDER
    from mpcvit.store.trained import save_model
    from mpcvit.wire.reveal import Disclosure

    check_result(out, DESCRIPTION_FILE)
    revealed = Disclosure.parse(reveal, top, threshold)
    names = None if labels is None else read_labels(labels)
    chosen = parse_factors(factors)
    wanted = parse_budgets(budget or [])
    choice = SourceChoice(
        trained=None if trained is None else zoo.folder(trained),
        timm=timm,
        module=module,
        weights=weights,
        image_size=image_size,
        classes=classes,
        mean=mean,
        std=std,
        data=data,
        noise=noise,
        images=images,
        skip_unreadable=skip_unreadable,
        labels=names if revealed.kind.facts.least_labels else (),
    )
    source = open_source(choice)
    precision = Precision(stock_wraps=stock_wraps, guards=guards)
    common = source.images, precision, revealed, chosen, source.normalisation
    calibrated = allow_calibrated or guards
    parts: dict[str, ExportedBudget] = {}
    if wanted:
        exported, parts = export_model_budgets(source.model, wanted, *common, allow_calibrated=calibrated)
    else:
        exported = export_model(source.model, *common, allow_calibrated=calibrated)
    description = source.describe(name, version, exported.reveal)
    budgets = {key: BudgetProgram(part.exported.program, part.views, part.own) for key, part in parts.items()}
    with written(out, stale=(QUANTIZED_FOLDER, BUDGETS_FOLDER)) as folder:
        ModelFolder(description, exported.program, exported.weights, budgets).save(folder)
        if not isinstance(source.model, TracedModel):  # modules are kept as their code and weights
            save_model(source.model, folder)
    wraps = stock_cost(exported.program, 2).wrap_probability
    proof = Proof.of(exported.program)
    if json_output:
        print_json(
            {
                "model": name,
                "folder": str(out),
                "program_sha256": exported.program.digest,
                "nodes": len(exported.program.nodes),
                "reveal": exported.reveal.to_json(),
                "fidelity": exported.fidelity,
                "wrap_probability": wraps,
                "ranges": asdict(proof),
                "budgets": {key: _budget_facts(wanted[key], part.exported) for key, part in parts.items()},
                **source.facts,
                **source.read,
            }
        )
        return
    print_notices(source.notices)
    rows = [
        ("folder", str(out)),
        *source.facts.items(),
        ("program", f"{exported.program.digest[:16]}.., {len(exported.program.nodes)} nodes"),
        ("reveals", str(exported.reveal)),
        ("ranges", str(proof)),
        ("real-valued difference to the model", f"{exported.fidelity:.2g}"),
        ("chance of a silent wrap per image (stock, bound)", f"{wraps:.2g}"),
    ]
    for key, part in parts.items():
        program = part.exported.program
        rows.append((f"budget {key}", f"{wanted[key]}: program {program.digest[:16]}.., ranges {program.ranges}"))
    print_table(f"exported {name}", rows)


def _budget_facts(prefix: Prefix, exported: Exported) -> dict[str, object]:
    """Return what ``--json`` says of one more Program."""
    return {
        "left": str(prefix),
        "program_sha256": exported.program.digest,
        "fidelity": exported.fidelity,
        "ranges": str(exported.program.ranges),
    }


@model_app.command("share")
@command
def share(
    model: Annotated[str, typer.Argument(help="A shipped model's name, or an exported model's folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write one folder per party to.")],
    parties: Annotated[int, typer.Option(min=2, help="Number of compute parties.")] = 2,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the shares in --out. Parties that hold old shares need the new ones."),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="For a model that matches: NAME.npy, the vector to match with. It is shared like the weights."
        ),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(help="The model owner's private key, of 'model keygen': signs the manifest.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Split a model's weights into one share folder per party. Send each party its own by a secure channel."""
    from mpcvit import zoo
    from mpcvit.store.enrolment import enrolled, read_reference
    from mpcvit.store.exported import ModelFolder
    from mpcvit.store.owner_key import read_key
    from mpcvit.store.shared import budget_digests, share_model
    from mpcvit.wire.owners import fingerprint
    from mpcvit.wire.reveal import RevealKind

    key = None if sign is None else read_key(sign)
    check_folder(out)
    if not replace:
        check_empty(out, "an empty or new folder, or --replace for new shares in the place of those")
    exported = ModelFolder.load(zoo.folder(model))
    if reference is not None:
        exported = enrolled(exported, read_reference(reference))
    elif exported.description.reveal.kind is RevealKind.MATCH:
        raise ConfigError(
            f"a model that reveals {exported.description.reveal}, without a reference",
            expected="--reference NAME.npy",
            remedy="Name a vector of the same network, as 'mpcvit infer --save' writes it.",
        )
    manifest, folders = share_model(exported, parties, out, key=key, replace=replace)
    others = budget_digests(folders[0])
    digest, owner = manifest.digest.hex(), None if key is None else fingerprint(key.public_key())
    if json_output:
        found = {
            "manifest_sha256": digest,
            "budgets": others,
            "owner_sha256": owner,
            "folders": [str(folder) for folder in folders],
        }
        print_json(found)
    else:
        rows = [("manifest digest, for clients to pin", digest)]
        rows += [(f"the same of budget {budget}", other) for budget, other in others.items()]
        rows += [("signed by owner", owner or "nobody: no --sign")]
        print_table("shares", rows + [(folder.name, str(folder)) for folder in folders])


@model_app.command("keygen")
@command
def keygen(
    name: Annotated[Path, typer.Argument(help="Path without suffix: NAME.key and NAME.pub are written.")],
    json_output: Json = False,
) -> None:
    """Make the key with which a model's owner signs shares. Keep NAME.key; give NAME.pub to parties and clients."""
    from mpcvit.store.owner_key import make_key
    from mpcvit.wire.owners import fingerprint

    key, private, public = make_key(name)
    owner = fingerprint(key.public_key())
    if json_output:
        print_json({"key": str(private), "public_key": str(public), "owner_sha256": owner})
    else:
        rows = [("private key", str(private)), ("public key, for 'owners'", str(public)), ("fingerprint", owner)]
        print_table("model owner's key", rows)
