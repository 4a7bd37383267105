"""The price of a configuration: seconds of one secure inference on a network, read off the runtime's own plans.

Nothing is trained and nothing is run. A probe, a model of one block with random weights, is exported and planned like
any other model; what its plan does is counted by part (:mod:`mpcvit.search.amounts`). A configuration's amounts are put
together from the parts of probes: the attention of a block is what all its heads share plus its groups of heads, which
run side by side and share rounds; then comes its MLP. With a class token probes have two blocks, as the last one does
less. Groups are probed with one head and with all; where both take equally many rounds, what lies between is
interpolated. Few probes thus price many configurations, and what they say is kept on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

import mpcvit
from mpcvit.export.builder import Precision
from mpcvit.export.vit import export_vit
from mpcvit.link_profile import PROFILES, LinkProfile
from mpcvit.models.config import Activation, AttentionKind, Norm, ViTConfig
from mpcvit.models.random_weights import enliven, noise
from mpcvit.models.structure import FULL
from mpcvit.models.vit import VisionTransformer
from mpcvit.program.objective import objective
from mpcvit.program.plan import make_plan
from mpcvit.program.program import Program
from mpcvit.search.amounts import Amounts, BlockAmounts, ModelAmounts, in_parallel, plan_amounts

_CALIBRATION_IMAGES = 4
#: How probes are exported. Bounds of noise need little margin; mpcvit.bench.random_models takes the same.
PRECISION = Precision(margin=1.5)
#: Heads that fill up a probe: the cheapest, and another one where these are asked for.
_FILLER, _OTHER_FILLER = AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX
#: Packages whose code decides what a plan does; a change of any makes kept amounts stale.
_SOURCES = ("export", "fss", "models", "ops", "program")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What software adds to the network's own seconds.

    Attributes:
        message_s: per round, for framing, gRPC and the scheduler.
        delay: how much longer a round is than the one-way delay, in parts of it: timers, processes that wake up.
        byte_s: per byte that a party sends: copies, masks, the check for ambiguous openings.
        mac_s: per multiply-accumulate.
        gate: factor on the protocols' own estimates for comparisons and splines.
        step_s: per protocol run: Python.
        element_s: per value written: memory.
    """

    message_s: float
    delay: float
    byte_s: float
    mac_s: float
    gate: float
    step_s: float
    element_s: float


#: Fitted by ``benchmarks/search_ranking.py --fit`` to its measurements on loopback and WAN (``benchmarks/results``,
#: 2026-11-21, two cores). The fit leaves nothing to bytes and products of models of this size.
RATES = Rates(message_s=1.3e-3, delay=0.065, byte_s=0.0, mac_s=0.0, gate=1.1, step_s=11e-6, element_s=3.6e-9)


def seconds(amounts: Amounts, profile: LinkProfile, rates: Rates = RATES) -> float:
    """Predicted seconds of one party's online phase on a network.

    Linear in the amounts, so that the parts of a model add up to the whole.
    """
    return (
        amounts.rounds * (profile.delay_s * (1 + rates.delay) + rates.message_s)
        + amounts.bytes_sent * (1 / profile.bytes_per_s + rates.byte_s)
        + amounts.macs * rates.mac_s
        + amounts.gate_s * rates.gate
        + amounts.steps * rates.step_s
        + amounts.elements * rates.element_s
    )


@dataclass(frozen=True, kw_only=True)
class Price:
    """A configuration's price on one network.

    Attributes:
        network: the link profile's name.
        seconds: predicted, online, of one inference.
        rounds, bytes_sent: of it, the session's setup apart; bytes per party.
        material_bytes: what the dealer sends to both parties ahead of it.
        parts: seconds by part of the model, in order; they add up to ``seconds``.
    """

    network: str
    seconds: float
    rounds: int
    bytes_sent: int
    material_bytes: int
    parts: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, amounts: ModelAmounts, profile: LinkProfile, rates: Rates = RATES) -> Price:
        """The price of a model that does these amounts."""
        total = amounts.total
        parts = tuple((name, seconds(part, profile, rates)) for name, part in _parts(amounts))
        return cls(
            network=profile.name,
            seconds=sum(part for _, part in parts),
            rounds=total.rounds,
            bytes_sent=total.bytes_sent,
            material_bytes=total.material_bytes,
            parts=parts,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Price:
        """What :meth:`to_json` wrote."""
        return cls(**{**document, "parts": tuple((name, part) for name, part in document["parts"])})


def _parts(amounts: ModelAmounts) -> Iterator[tuple[str, Amounts]]:
    yield "stem", amounts.stem
    for number, block in enumerate(amounts.blocks):
        yield f"block{number}.attention", block.shared + in_parallel(block.groups.values())
        yield f"block{number}.mlp", block.mlp
    yield "head", amounts.head


class PriceTable:
    """Prices of configurations on one network.

    Args:
        profile: the network. Plans minimise the objective of the same name, as a deployment there would.
        folder: where probes are kept; may be shared by searches and networks. None keeps them in memory alone.
        precision: how probes are exported, and how models are to be; finer splines are dearer.
        on_probe: called with a probe's description before it is exported, which takes seconds.
    """

    def __init__(
        self,
        profile: LinkProfile,
        folder: Path | None = None,
        on_probe: Callable[[str], None] = lambda what: None,
        precision: Precision = PRECISION,
    ) -> None:
        self.profile = profile
        self._folder = folder
        self._on_probe = on_probe
        self._precision = precision
        self._probes: dict[str, ModelAmounts] = {}

    def price(self, config: ViTConfig) -> Price:
        """The price of ``config``.

        Raises:
            RangeError: values of a probe do not fit fixed point.
        """
        return Price.of(self.amounts(config), self.profile)

    def seconds(self, config: ViTConfig) -> float:
        """The price of ``config`` in seconds."""
        return self.price(config).seconds

    def amounts(self, config: ViTConfig) -> ModelAmounts:
        """What an inference by ``config`` does, put together from probes.

        Where tokens are reduced, blocks differ in too many ways: such a configuration is a probe of its own.
        """
        if any(config.reductions):
            return self._probe(config)
        blocks, ends = [], None
        for number, kinds in enumerate(config.heads):
            place = -1 if number == config.depth - 1 else 0
            rest = self._probe(_probe(_equal_mlps(config), number, (_FILLER,) * len(kinds)))
            groups = {kind.value: self._group(config, kind, count)[place] for kind, count in Counter(kinds).items()}
            mlp = self._mlp(config, number).blocks[place].mlp
            blocks.append(BlockAmounts(shared=rest.blocks[place].shared, groups=groups, mlp=mlp))
            ends = ends or rest
        assert ends is not None  # noqa: S101 - a configuration has blocks
        return ModelAmounts(stem=ends.stem, blocks=tuple(blocks), head=ends.head)

    def head_seconds(self, config: ViTConfig, block: int, kind: AttentionKind) -> float:
        """Seconds of one of a block's heads if all are of this kind: their group's, divided by their number."""
        count = len(config.heads[block])
        group = self._group(config, kind, count)[-1 if block == config.depth - 1 else 0]
        return seconds(group, self.profile) / count

    def mlp_seconds(self, config: ViTConfig, block: int) -> float:
        """Seconds of a block's MLP."""
        place = -1 if block == config.depth - 1 else 0
        return seconds(self._mlp(config, block).blocks[place].mlp, self.profile)

    def _mlp(self, config: ViTConfig, block: int) -> ModelAmounts:
        """A probe with a block's MLP."""
        return self._probe(_probe(config, block, (_FILLER,) * config.head_count))

    def _group(self, config: ViTConfig, kind: AttentionKind, count: int) -> list[Amounts]:
        """Amounts of a group of heads in every block of a probe. Independent of the block's other parts."""
        most = config.head_count
        if 1 < count < most:
            ends = zip(self._group(config, kind, 1), self._group(config, kind, most), strict=True)
            between = [one.towards(all_, (count - 1) / (most - 1)) for one, all_ in ends if one.rounds == all_.rounds]
            if between:
                return between
        filler = _OTHER_FILLER if kind is _FILLER else _FILLER
        heads = (kind,) * count + (filler,) * (most - count)
        return [block.groups[kind] for block in self._probe(_probe(_plain(config), 0, heads)).blocks]

    def _probe(self, config: ViTConfig) -> ModelAmounts:
        facts = [mpcvit.__version__, sources_digest(), config.to_json(), asdict(self._precision)]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        if key not in self._probes:
            by_network = self._read(key) or self._export(config, key)
            self._probes[key] = by_network[self.profile.name]
        return self._probes[key]

    def _read(self, key: str) -> dict[str, ModelAmounts] | None:
        if self._folder is None or not (self._folder / f"{key[:32]}.json").exists():
            return None
        document = json.loads((self._folder / f"{key[:32]}.json").read_text())
        return {network: ModelAmounts.from_json(amounts) for network, amounts in document["amounts"].items()}

    def _export(self, config: ViTConfig, key: str) -> dict[str, ModelAmounts]:
        self._on_probe(f"{'+'.join(dict.fromkeys(config.heads[0]))}, {config.activations[0]}")
        program = random_program(config, self._precision)
        by_network = {name: plan_amounts(make_plan(program, objective(name))) for name in PROFILES}
        if self._folder is not None:
            amounts = {network: found.to_json() for network, found in by_network.items()}
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{key[:32]}.partial"
            partial.write_text(json.dumps({"config": config.to_json(), "amounts": amounts}, indent=1) + "\n")
            partial.replace(self._folder / f"{key[:32]}.json")
        return by_network


def random_program(config: ViTConfig, precision: Precision = PRECISION) -> Program:
    """The Program of a model with random weights, calibrated on noise; the same for the same configuration."""
    return export_vit(random_weights(config), random_images(config), precision).program


def random_weights(config: ViTConfig) -> VisionTransformer:
    """A model with random weights, the same for the same configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(config).eval()
        enliven(model)
    return model


def random_images(config: ViTConfig, count: int = _CALIBRATION_IMAGES) -> torch.Tensor:
    """Normalised noise, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return noise(config, count)


@cache
def sources_digest() -> str:
    """A digest of the code that decides what a plan does."""
    digest = hashlib.sha256()
    for package in _SOURCES:
        root = Path(str(files("mpcvit") / package))
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _probe(config: ViTConfig, block: int, heads: tuple[AttentionKind, ...]) -> ViTConfig:
    """One block (with a class token, two) like block number ``block`` of ``config``, but for the heads.

    In a canonical form, so that equal parts share a probe: heads in order, neighbouring positions of gates.
    """
    gate = config.block_gates[block]
    if gate is not None:
        # position 0 stays what it is: behind the last attention a class token may be the only one left
        first = 0 if gate.kept[0] == 0 else 1
        gate = replace(gate, kept=tuple(range(first, first + len(gate.kept))))
    depth = 2 if config.class_token else 1
    ranks = config.block_ranks[block]
    return replace(
        config,
        head_width=config.head_dim,
        hidden=config.block_hiddens[block],
        hiddens=(),
        ranks=() if ranks == FULL else (ranks,) * depth,
        sharing=(),  # which changes what a load costs, but no inference
        lepe=config.filters_per_head * len(heads),
        heads=(tuple(sorted(heads)),) * depth,
        activations=(config.activations[block],) * depth,
        gates=() if gate is None else (gate,) * depth,
        reductions=(),
        norms=() if set(config.block_norms[block]) == {Norm.LAYERNORM} else (config.block_norms[block],) * depth,
    )


def _equal_mlps(config: ViTConfig) -> ViTConfig:
    """``config`` with MLPs of one width, so that few probes have the attentions of blocks of many widths."""
    return replace(config, hiddens=(), gates=()) if config.hiddens and not config.ranks else config


def _plain(config: ViTConfig) -> ViTConfig:
    """``config`` with the simplest MLPs and layer norms: groups of heads do not depend on them."""
    return replace(
        config, activations=(Activation.RELU,) * config.depth, gates=(), norms=(), hiddens=(), ranks=(), sharing=()
    )
