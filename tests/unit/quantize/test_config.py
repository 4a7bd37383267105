"""Configurations of quantization."""

from __future__ import annotations

import json

import pytest

from mpcvit.errors import ConfigError
from mpcvit.quantize.config import Method, QuantizeConfig
from mpcvit.store.codec import from_document, to_document
from tests.support.quantized import settings


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"bits": {"weight": 4.5, "activation": 8}}, "bits.weight 4.5"),
        ({"bits": {"weight": 8, "activation": True}}, "bits.activation True"),
        ({"bits": {"weight": 8, "activation": "8"}}, "bits.activation '8'"),
        ({"layers": [["head", {"weight": 8, "activation": 8.0}]]}, "layers.0.1.activation 8.0"),
        ({"layers": [[1, {"weight": 8, "activation": 8}]]}, "layers.0.0 1"),
        ({"steps": 2.5}, "steps 2.5"),
        ({"steps": True}, "steps True"),
        ({"steps": 0}, "0 steps"),
        ({"reconstruct": "no"}, "reconstruct 'no'"),
        ({"reconstruct": 1}, "reconstruct 1"),
    ],
)
def test_configurations_hold_what_they_say(document: dict, words: str) -> None:
    """Fields of another type are refused, as a file may have them."""
    good = to_document(settings(Method.REPQ, 8))
    assert from_document(QuantizeConfig, json.loads(json.dumps(good))) == settings(Method.REPQ, 8)
    with pytest.raises(ConfigError) as caught:
        from_document(QuantizeConfig, {**good, **document})
    assert words in caught.value.got
