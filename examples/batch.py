"""Classify a folder of pictures, several at a time, and print one CSV line per picture.

    python examples/batch.py mpcvit/zoo/pictures > labels.csv

A party runs ``limits.sessions`` inferences at the same time and lets ``limits.queue`` more wait. Whoever asks for more
than that gets ``Overloaded``: the client asks again as often as ``retries`` says.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from mpcvit import zoo
from mpcvit.client import Client, Inference
from mpcvit.errors import MpcvitError
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from parties.local.scratch_folder import scratch_folder

#: Inferences at a time: as many as a party runs side by side unless its configuration says otherwise.
AT_A_TIME = 2


def row(picture: Path, answer: Inference | MpcvitError) -> tuple[str, str, str]:
    """(file, label, remark) of one picture. One that has no answer is reported, and the batch goes on."""
    if isinstance(answer, MpcvitError):
        return picture.name, "", answer.got
    return picture.name, answer.label, " ".join(answer.notices)


def main() -> None:
    """Start parties and a dealer, classify all pictures, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=zoo.DEFAULT, help="a shipped model's name, or an exported model's folder")
    arguments = parser.parse_args()
    pictures = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    rows = csv.writer(sys.stdout)
    rows.writerow(("file", "label", "remark"))
    with scratch_folder("mpcvit-example-") as scratch:
        _, shares = share_model(ModelFolder.load(zoo.folder(arguments.model)), 2, scratch / "shares")
        with LocalCluster(shares, scratch) as cluster, Client.from_config(cluster.client_config) as client:
            answers = client.infer_each(pictures, concurrency=AT_A_TIME, fit="model", retries=5)
            rows.writerows(map(row, pictures, answers))


if __name__ == "__main__":
    main()
