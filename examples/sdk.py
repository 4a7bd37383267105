"""Classify one picture with the client SDK.

    python examples/sdk.py mpcvit/zoo/pictures/ship.jpg

In a deployment, three organisations run the parties and the dealer, and a client has a ``client.yaml`` that says where
they are. Here all of them run on this machine, as processes that end with the script.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mpcvit import zoo
from mpcvit.client import Client
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from parties.local.scratch_folder import scratch_folder


def classify(picture: Path, config: Path) -> None:
    """Print the likeliest labels of ``picture``. This is all that a client does, wherever the parties are."""
    with Client.from_config(config) as client:
        answer = client.infer(picture, fit="model")
    print(f"{picture.name} is a {answer.label}")
    for label, probability in answer.top(3):
        print(f"  {label:12} {probability:.4f}" if probability is not None else f"  {label}")


def main() -> None:
    """Start parties and a dealer, classify, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default=zoo.DEFAULT, help="a shipped model's name, or an exported model's folder")
    arguments = parser.parse_args()
    with scratch_folder("mpcvit-example-") as scratch:
        model = ModelFolder.load(zoo.folder(arguments.model))
        _, shares = share_model(model, 2, scratch / "shares")
        with LocalCluster(shares, scratch) as cluster:
            classify(arguments.picture, cluster.client_config)


if __name__ == "__main__":
    main()
