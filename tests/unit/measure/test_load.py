"""What ``mpcvit bench load`` makes of what its clients report."""

from __future__ import annotations

import numpy as np
import pytest

from mpcvit.errors import ConfigError
from mpcvit.measure.accuracy import Answers
from mpcvit.measure.load import measure_load, summary

REFERENCE = Answers.of(np.array([[1.0, 0.0], [0.0, 2.0]]))


def _answer(picture: int, seconds: float, logits: list[float] | None, label: int) -> dict:
    stats = [{"offline_s": 0.5}, {"offline_s": 1.5}]
    return {"picture": picture, "seconds": seconds, "logits": logits, "label": label, "stats": stats}


def test_every_request_is_counted_once() -> None:
    """Right and wrong answers, refusals, failures; times are of answers alone."""
    lines = [
        *(_answer(0, 1.0 + index / 100, [1.01, 0.0], 0) for index in range(100)),
        _answer(1, 9.0, [0.0, 2.2], 1),  # a logit is off
        _answer(1, 10.0, None, 0),  # the label is another
        {"picture": 0, "seconds": 0.0, "error": "OVERLOADED", "message": "m"},
        {"picture": 0, "seconds": 50.0, "error": "PEER_LOST", "message": "m"},
    ]
    load = summary(lines, 51.0, 4, REFERENCE)
    assert (load.clients, load.requests, load.answered, load.wrong) == (4, 104, 102, 2)
    assert (load.overloaded, load.errors) == (1, 1)
    assert load.p50_s == pytest.approx(1.505)
    assert load.p99_s == 9.0
    assert load.pictures_per_s == pytest.approx(2.0)
    assert load.offline_s == 1.5


def test_without_answers_there_are_no_times() -> None:
    """They are null, not zero."""
    lines = [{"picture": 0, "seconds": 0.0, "error": "OVERLOADED", "message": "m"}]
    load = summary(lines, 1.0, 1, REFERENCE)
    assert (load.p50_s, load.p99_s, load.offline_s, load.pictures_per_s) == (None, None, None, 0.0)


def test_every_client_needs_a_request(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Otherwise fewer clients would run than were asked for."""
    with pytest.raises(ConfigError, match="3 requests for 4 clients"):
        measure_load(tmp_path_factory.mktemp("none"), 4, 3)
