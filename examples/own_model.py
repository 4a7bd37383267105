"""Bring a model of your own: train a tiny ViT in plain PyTorch, export it, share it, and ask it for an answer.

    python examples/own_model.py

The pictures are shapes that are drawn on the spot. Export proves that no picture makes any value leave its range, or
refuses the model.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn.functional import cross_entropy

from mpcvit.client import Client
from mpcvit.data.normalise import normalise
from mpcvit.export.model import export_model
from mpcvit.export.normalisation import Normalisation
from mpcvit.export.proof import Proof
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.models.vit import VisionTransformer
from mpcvit.search.synthetic import synthetic_pictures
from mpcvit.store.exported import Description, ModelFolder
from mpcvit.store.shared import share_model
from parties.local.cluster import LocalCluster
from parties.local.scratch_folder import scratch_folder

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
#: Heads and activations that are cheap on secret shares.
ARCHITECTURE = ViTConfig.uniform(
    AttentionKind.RELU_SOFTMAX,
    Activation.RELU,
    depth=2,
    head_count=2,
    image_size=16,
    patch_size=4,
    classes=4,
    dim=32,
    hidden=64,
)


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int) -> VisionTransformer:
    """Train on normalised ``images`` [count, 3, 16, 16] and ``labels`` [count]; any other loop does as well."""
    torch.manual_seed(0)
    model = VisionTransformer(ARCHITECTURE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train, export, share, infer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    shapes = synthetic_pictures(640)
    images = normalise(shapes.images, MEAN, STD)
    model = train(images, torch.from_numpy(shapes.labels), epochs)

    exported = export_model(model, images[:128], normalisation=Normalisation(MEAN, STD))
    print(f"exported: {len(exported.program.nodes)} nodes, {Proof.of(exported.program)}")
    description = Description(name="shapes", version="1", labels=shapes.classes, mean=MEAN, std=STD)
    folder = ModelFolder(description, exported.program, exported.weights)

    unseen = synthetic_pictures(4, seed=1)
    with scratch_folder("mpcvit-example-") as scratch:
        _, shares = share_model(folder, 2, scratch / "shares")
        with LocalCluster(shares, scratch) as cluster, Client.from_config(cluster.client_config) as client:
            for picture, label in zip(unseen.images, unseen.labels, strict=True):
                answer = client.infer(picture)
                print(f"shows {shapes.classes[label]}, answer: {answer.label} ({answer.top(1)[0][1]:.2f})")


if __name__ == "__main__":
    main()
