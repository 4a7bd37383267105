"""References of models that match."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpcvit.errors import InputError
from mpcvit.store.enrolment import REFERENCE, enrolled, read_reference
from tests.support.answers import EMBEDDING_WIDTH, MATCH, SCORES, make_folder


def test_a_reference_is_put_in_at_length_one_over_the_threshold() -> None:
    """Whatever its own length; everything else stays."""
    model = make_folder(MATCH, reference=None)
    reference = np.arange(EMBEDDING_WIDTH) - 2.0
    for scale in (1e-20, 1.0, 1e20):
        again = enrolled(model, scale * reference)
        assert again.program == model.program
        assert {name for name in model.weights if (again.weights[name] != model.weights[name]).any()} == {REFERENCE}
        found = again.weights[REFERENCE][:, 0] / 2.0 ** model.program.parameters[REFERENCE].frac
        assert np.abs(found - reference / np.linalg.norm(reference) / 0.6).max() < 1e-4


@pytest.mark.parametrize(
    "reference", [np.zeros(6), np.full(6, np.nan), np.full(6, np.inf), np.ones(5), np.ones((6, 1)), np.ones(0)]
)
def test_what_is_no_embedding_is_refused(reference: np.ndarray) -> None:
    """Zeros, numbers that are none, another shape."""
    with pytest.raises(InputError, match="a reference of shape"):
        enrolled(make_folder(MATCH, reference=None), reference)


def test_only_models_that_match_have_one() -> None:
    """Others say what they reveal."""
    with pytest.raises(InputError, match="a score for each label"):
        enrolled(make_folder(SCORES), np.ones(3))


def test_references_are_files_of_numbers(tmp_path: Path) -> None:
    """Floats and integers; no objects, no text, no complex numbers."""
    path = tmp_path / "reference.npy"
    for values in (np.ones(3, dtype=np.float32), np.arange(3, dtype=np.int32)):
        np.save(path, values)
        assert read_reference(path).tolist() == values.tolist()
    for wrong in (np.array(["a"]), np.ones(2, dtype=complex)):
        np.save(path, wrong)
        with pytest.raises(InputError):
            read_reference(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError):
        read_reference(path)
    with pytest.raises(InputError, match=r"missing\.npy"):
        read_reference(tmp_path / "missing.npy")
