"""Fits of splines, kept on disk: most of an export's time, and tests export the same models again and again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mpcvit import export, ops
from mpcvit.export.spline_fit import Function
from mpcvit.export.split_fit import SplitFit, fit_split
from mpcvit.ops import GridSpline, Spline

#: Where the functions of a fit are told apart: equal at all of these places is equal.
_PROBES = 2048


class KeptFits:
    """Does what :func:`fit_split` does; looks in a folder first.

    Several processes may share the folder. A change of the code that fits, or of the splines, makes all of it stale.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._code = _digest_of_code()

    def __call__(self, function: Function, tolerance: Function, *, lo: float, hi: float, **sizes: int) -> SplitFit:
        """As :func:`fit_split`."""
        digest = self._code.copy()
        digest.update(json.dumps([lo, hi, sorted(sizes.items())]).encode())
        places = np.concatenate([np.linspace(lo, hi, _PROBES), lo + np.geomspace(2.0**-40, 1, _PROBES) * (hi - lo)])
        for one in (function, tolerance):
            digest.update(np.asarray(one(places), dtype=np.float64).tobytes())
        path = self._folder / f"{digest.hexdigest()}.json"
        if path.exists():
            return _from_json(json.loads(path.read_text()))
        fit = fit_split(function, tolerance, lo=lo, hi=hi, **sizes)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(_to_json(fit)))
        unfinished.replace(path)
        return fit


def _digest_of_code() -> Any:
    sources = [Path(export.__path__[0], name) for name in ("split_fit.py", "spline_fit.py")]
    sources += sorted(Path(ops.__path__[0]).glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources))


def _to_json(fit: SplitFit) -> dict[str, Any]:
    left = fit.left and [fit.left.origins, fit.left.coefficients, fit.left.lo, fit.left.hi]
    grid = fit.grid
    return {
        "grid": [grid.origin, grid.shift, grid.coefficients],
        "fracs": [grid.input_frac, grid.frac],
        "left": left,
        "error": fit.error,
    }


def _from_json(document: dict[str, Any]) -> SplitFit:
    origin, shift, coefficients = document["grid"]
    input_frac, frac = document["fracs"]
    grid = GridSpline(origin, shift, _rows(coefficients), input_frac=input_frac, frac=frac)
    left = None
    if document["left"] is not None:
        origins, rows, lo, hi = document["left"]
        left = Spline(tuple(origins), _rows(rows), input_frac, frac, lo, hi)
    return SplitFit(grid, left, document["error"])


def _rows(rows: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in rows)
