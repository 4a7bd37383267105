"""How an answer is shown: as rows of a table, in a few words, for ``--json``, and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mpcvit.cli.output import mib, print_notices, print_table
from mpcvit.client import Inference
from mpcvit.client.answers import Answer, Classification, LabelMap, Match, Scalar, Scores, Tags, Vector
from mpcvit.errors import ConfigError, InternalError
from mpcvit.picture import Fit, read_picture
from mpcvit.picture.fit import fitted
from mpcvit.picture.overlay import overlay
from mpcvit.wire.budget import FULL

#: Rows that an answer takes at most.
_ROWS = 20
_LOGIT_ROWS = 3


def describe(inference: Inference) -> dict[str, Any]:
    """Return an answer for ``--json``: what is revealed, and what it cost."""
    return {
        "model": inference.model,
        "budget": inference.budget,
        "reveal": str(inference.reveal.kind),
        **inference.answer.to_json(),
        "notices": list(inference.notices),
        "session_id": inference.session_id,
        "online_s": inference.online_s,
        "offline_s": inference.offline_s,
        "rounds": inference.rounds,
        "bytes_sent": [stats.bytes_sent for stats in inference.stats],
        "material_bytes": [stats.material_bytes for stats in inference.stats],
    }


def print_answer(name: str, inference: Inference) -> None:
    """Write the answer on the picture ``name`` as a table."""
    rows = [
        *_rows(inference.answer),
        ("the model reveals", str(inference.reveal)),
        *([] if inference.budget == FULL else [("budget", inference.budget)]),
        ("online", f"{inference.online_s:.2f} s"),
        ("offline", f"{inference.offline_s:.2f} s"),
        ("rounds", str(inference.rounds)),
        ("sent per party", ", ".join(mib(stats.bytes_sent) for stats in inference.stats)),
    ]
    print_notices(inference.notices)
    print_table(f"{name}: {headline(inference.answer)}", rows)


def headline(answer: Answer) -> str:
    """Return the answer in a few words."""
    match answer:
        case Classification():
            return answer.label
        case Scores():
            return next(iter(answer.by_label))
        case Tags():
            return ", ".join(answer.names) or "no label"
        case Vector():
            return f"a vector of {answer.values.size} numbers"
        case Scalar():
            return f"{answer.value:.4f}"
        case LabelMap():
            return f"mostly {next(iter(answer.areas))}"
        case Match():
            return "a match" if answer.matches else "no match"
    raise InternalError("an answer that cannot be shown", expected="one of a known kind", remedy="Report this.")


def number(answer: Answer) -> str:
    """Return the number that belongs to the headline, if one is revealed."""
    match answer:
        case Classification():
            ((_, probability),) = answer.top(1)
            return "" if probability is None else f"{probability:.4f}"
        case Scores():
            return f"{answer.scores.max():.4f}"
        case LabelMap():
            return f"{next(iter(answer.areas.values())):.4f}"
    return ""


def save_answer(inference: Inference, picture: Path, path: Path, fit: str = "") -> None:
    """Write what does not fit a table: of a map the picture under its labels' colours (PNG), of a vector its numbers.

    Args:
        fit: how the picture was made fit; the same part of it is written.

    Raises:
        ConfigError: the answer is of another kind, ``path`` has another suffix, or it cannot be written.
        InputError: the picture cannot be read again.
    """
    answer = inference.answer
    check_save(path)
    if not isinstance(answer, LabelMap if path.suffix == ".png" else Vector):
        raise ConfigError(
            f"--save {path.name} with a model that reveals {inference.reveal}",
            expected="NAME.png of a map, or NAME.npy of a vector",
            remedy="Leave --save out, or choose the other suffix.",
        )
    try:
        if isinstance(answer, LabelMap):
            pixels = _seen(read_picture(picture).pixels, answer.classes.shape, fit)
            overlay(pixels, answer.resized(*pixels.shape[:2])).save(path)
        elif isinstance(answer, Vector):
            np.save(path, answer.values, allow_pickle=False)
    except OSError as error:
        raise ConfigError(
            f"{type(error).__name__} writing {path}", expected="a file that can be written", remedy="Correct --save."
        ) from error


def _seen(pixels: npt.NDArray[np.uint8], places: tuple[int, ...], fit: str) -> npt.NDArray[np.uint8]:
    """Return the part of the picture that the model read, whose sides are to each other as those of the map."""
    if Fit.parse(fit) is None:
        return pixels
    scale = max(min(size // count for size, count in zip(pixels.shape[:2], places, strict=True)), 1)
    rows, columns = places
    return np.asarray(fitted(Image.fromarray(pixels), (scale * rows, scale * columns)))


def check_save(path: Path) -> None:
    """Raise ConfigError unless ``path`` is that of a file that an answer can be written to."""
    if path.suffix not in (".png", ".npy") or not path.parent.is_dir():
        raise ConfigError(
            f"--save {path}", expected="NAME.png or NAME.npy in a folder that exists", remedy="Correct --save."
        )


def _rows(answer: Answer) -> list[tuple[str, str]]:
    """Return the answer as names and values."""
    match answer:
        case Classification():
            found = answer.top(len(answer.ranking) if answer.logits is None else _LOGIT_ROWS)
            return [
                (label, f"place {place}" if probability is None else f"{probability:.4f}")
                for place, (label, probability) in enumerate(found[:_ROWS], start=1)
            ]
        case Scores():
            return _first([(label, f"{score:.4f}") for label, score in answer.by_label.items()])
        case Tags():
            return _first([(name, "yes") for name in answer.names])
        case LabelMap():
            return _first([(label, f"{area:.1%} of the picture") for label, area in answer.areas.items()])
        case Vector():
            return [("length", f"{np.linalg.norm(answer.values):.4f}")]
    return []


def _first(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the first rows, and how many more there are."""
    more = len(rows) - _ROWS
    return rows if more <= 0 else [*rows[:_ROWS], ("..", f"{more} more, see --json")]
