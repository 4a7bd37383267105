"""Which elements a gather takes, for grids whose positions lie row by row along one axis."""

from __future__ import annotations

import torch


def pixel_shuffle(rows: int, columns: int, factor: int) -> tuple[int, ...]:
    """Return the positions that lay out cells in space, which follow one another for each place of a grid.

    Cell (r, c) of a place is its number r * factor + c. From [rows * columns * factor^2] to a grid of [rows * factor,
    columns * factor] (Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution", section 3.2).
    """
    cells = torch.arange(rows * columns * factor**2).reshape(rows, columns, factor, factor)
    return tuple(cells.permute(0, 2, 1, 3).reshape(-1).tolist())
