"""Switches become a configuration, weighted by what they save."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mpcvit.models.block import Gate
from mpcvit.models.kinds import GateAxis
from mpcvit.pricing.table import PriceTable
from mpcvit.search.linearise import gate_weights, gates_by_mu
from mpcvit.search.supernet import blocks_by_mu, head_weights, heads_by_mu
from tests.support.columns import column
from tests.support.searches import NONE, RELU, RS, SC, SM, config, relaxed


def test_penalty_weights_follow_prices(prices: PriceTable) -> None:
    """Equal blocks weigh 1; behind a class token's last attention a head computes one row and weighs less."""
    assert np.allclose(head_weights(prices, config(), (RS, SC)), 1.0, atol=0.05)
    assert np.allclose(gate_weights(prices, config()), 1.0, atol=0.05)
    with_token = head_weights(prices, replace(config((SM, SM)), class_token=True), (SM, SC))
    assert with_token[0][0] > with_token[1][0] >= 0


def test_gates_become_tokens_and_blocks() -> None:
    """Kept positions become a gate, none at all the identity, all of them no gate."""
    model = relaxed()
    with torch.no_grad():
        model.gate_switches[0].zero_()
        model.gate_switches[1][:5] = 0
    chosen = gates_by_mu(model, 11 / 32)
    assert column(chosen, "activation") == (NONE, RELU)
    assert column(chosen, "gate") == (None, Gate(axis=GateAxis.TOKEN, kept=tuple(range(5, 16))))
    assert gates_by_mu(model, 1.0) == model.config


def test_whole_blocks_are_kept_by_their_mean() -> None:
    """Half of two blocks is the one with the larger mean alpha, though the other has the largest alpha."""
    model = relaxed()
    with torch.no_grad():
        model.head_switches[0].copy_(torch.tensor([0.9, 0.1]))
        model.head_switches[1].copy_(torch.tensor([0.7, 0.6]))
    assert column(blocks_by_mu(model, 0.5), "heads") == ((SC, SC), (RS, RS))
    assert column(heads_by_mu(model, 0.5), "heads") == ((RS, SC), (RS, SC))
