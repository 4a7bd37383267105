"""The type of additive shares, and the union that a masked wire is."""

from __future__ import annotations

import pytest
import torch

from mpcvit.engines.masked.wires import Masked, masked, share_of
from mpcvit.engines.shared import Shared, shared

SECRET = torch.tensor([123456789, -5])


def test_shares_are_hidden() -> None:
    """What prints a wire prints no share of it."""
    for text in (repr(shared(SECRET)), str(shared(SECRET)), repr(Masked(SECRET, SECRET))):
        assert "hidden" in text
        assert "123456789" not in text


def test_sums_and_differences_are_local() -> None:
    """Of what this party holds, without a session."""
    both = shared(SECRET) + shared(torch.tensor([1, 2]))
    assert isinstance(both, Shared)
    assert both.share.tolist() == [123456790, -3]
    assert (both - shared(SECRET)).share.tolist() == [1, 2]


def test_a_share_cannot_be_exchanged() -> None:
    """The type is frozen."""
    with pytest.raises(AttributeError):
        shared(SECRET).tensor = shared(SECRET).tensor  # type: ignore[misc]


def test_shares_of_either_form_add_up() -> None:
    """Party 0 holds the public part of a masked wire."""
    hat, masks = torch.tensor([[10, 20]]), [torch.tensor([[1, 5]]), torch.tensor([[2, 6]])]
    shares = [share_of(Masked(hat, mask), party) for party, mask in enumerate(masks)]
    assert (shares[0] + shares[1]).tolist() == [[7, 9]]
    assert share_of(shared(SECRET), 1).tolist() == SECRET.tolist()


def test_only_masked_wires_pass_for_masked() -> None:
    """A plan that gives another form is noticed."""
    wire = Masked(SECRET, SECRET)
    assert masked(wire, wire) == (wire, wire)
    with pytest.raises(AssertionError):
        masked(wire, shared(SECRET))
