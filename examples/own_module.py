"""A network of your own, of no family that mpcvit knows, in three commands from this file to an answer on shares.

    python examples/own_module.py --out runs/own
    mpcvit model export --module examples/own_module.py:build --weights runs/own/model.safetensors \\
        --data runs/own/pictures --out runs/own/exported --name shapes
    mpcvit demo --model runs/own/exported --image runs/own/pictures/disc/0.png

The first trains it on shapes that are drawn on the spot. The second calls ``build``, traces what it returns, and proves
that no picture makes any value leave its range.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from mpcvit.data.normalise import normalise
from mpcvit.search.synthetic import synthetic_pictures

SIZE, PATCH, WIDTH, HEADS, CLASSES = 16, 4, 32, 2, 4


class Mixer(nn.Module):
    """Attention and a gated convolution side by side, on tokens [count, tokens, WIDTH] behind a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.local = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.scale = nn.Parameter(torch.full((WIDTH,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream with what was mixed."""
        count, tokens, _ = x.shape
        y = self.norm(x)
        q, k, v = self.qkv(y).reshape(count, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        grid = y[:, 1:].transpose(1, 2).unflatten(2, (SIZE // PATCH, SIZE // PATCH))
        local = nn.functional.pad(self.local(grid).flatten(2).transpose(1, 2), (0, 0, 1, 0))
        return x + self.scale * (self.proj(mixed) + local)


class ShapeNet(nn.Module):
    """Logits of pictures [count, 3, SIZE, SIZE]."""

    #: What ``mpcvit model export`` asks of a module.
    image_size, mean, std = SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False), nn.BatchNorm2d(WIDTH))
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, (SIZE // PATCH) ** 2 + 1, WIDTH))
        self.mixers = nn.Sequential(Mixer(), Mixer())
        self.head = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Dropout(0.1), nn.Linear(WIDTH, CLASSES)
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits [count, CLASSES]."""
        x = self.stem(pictures).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.places
        logits: torch.Tensor = self.head(self.mixers(x)[:, 0])
        return logits


def build() -> nn.Module:
    """Return the module; weights come from the file that ``--weights`` names."""
    return ShapeNet()


def main() -> None:
    """Train, and write weights and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()

    shapes = synthetic_pictures(640)
    model = build()
    images, labels = normalise(shapes.images, ShapeNet.mean, ShapeNet.std), torch.from_numpy(shapes.labels)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(options.epochs):
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()

    for number, (picture, label) in enumerate(zip(shapes.images[:64], shapes.labels, strict=False)):
        folder = options.out / "pictures" / shapes.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number // CLASSES}.png")
    save_file(model.state_dict(), options.out / "model.safetensors")
    print(f"trained on {len(images)} pictures of {', '.join(shapes.classes)}: {options.out}")


if __name__ == "__main__":
    main()
