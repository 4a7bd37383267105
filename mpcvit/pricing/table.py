"""Prices of configurations, read off the runtime's own plans.

Nothing is trained and nothing is run. A probe, a model of two blocks with random weights, is exported and planned like
any other model; what its plan does is counted by part (:mod:`~mpcvit.pricing.amounts`). A configuration's amounts are
put together from the parts of probes: the attention of a block is what all its heads share plus its groups of heads,
which run side by side and share rounds; then comes its MLP. Probes have two blocks because the last one does less: what
its MLP writes is pooled before it is opened, and behind its attention only a class token is read. Groups are probed
with one head and with all; where both take equally many rounds, what lies between is interpolated. Few probes thus
price many configurations, and what they say is kept on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import mpcvit
from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import make_plan
from mpcvit.export.builder import Precision
from mpcvit.link_profile import PROFILES, LinkProfile
from mpcvit.models.block import FULL, BlockConfig
from mpcvit.models.config import ViTConfig
from mpcvit.models.kinds import Activation, AttentionKind
from mpcvit.pricing.amounts import Amounts, BlockAmounts, ModelAmounts, plan_amounts
from mpcvit.pricing.price import Price
from mpcvit.pricing.random_export import PRECISION, random_export
from mpcvit.pricing.rates import seconds
from mpcvit.store.codec import from_document, plain, to_document
from mpcvit.store.whole_file import write_whole

#: Heads that fill up a probe: the cheapest, and another one where these are asked for.
_FILLER, _OTHER_FILLER = AttentionKind.SCALING, AttentionKind.RELU_SOFTMAX
#: Blocks of a probe: one like all before the last, and the last.
_DEPTH = 2
#: Packages whose code decides what a plan does and how that is counted; a change of any makes kept amounts stale.
_SOURCES = ("engines", "export", "fss", "models", "ops", "pricing", "program", "ring")


class PriceTable:
    """Prices of configurations on one network.

    Args:
        profile: the network. Plans minimise the objective of the same name, as a deployment there would.
        folder: where probes are kept; may be shared by searches and networks. None keeps them in memory alone.
        precision: how probes are exported, and how models are to be; finer splines are more expensive.
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
        """Return the price of ``config``.

        Raises:
            RangeError: values of a probe do not fit fixed point.
        """
        return Price.of(self.amounts(config), self.profile)

    def seconds(self, config: ViTConfig) -> float:
        """Return the price of ``config`` in seconds."""
        return self.price(config).seconds

    def amounts(self, config: ViTConfig) -> ModelAmounts:
        """Return what an inference by ``config`` does, put together from probes.

        Where tokens are reduced, blocks differ in too many ways: such a configuration is a probe of its own.
        """
        if any(block.reduction for block in config.blocks):
            return self._probe(config)
        blocks, ends = [], None
        for number, kinds in enumerate(block.heads for block in config.blocks):
            place = -1 if number == config.depth - 1 else 0
            rest = self._probe(_probe(_equal_mlps(config), number, (_FILLER,) * len(kinds)))
            groups = {kind.value: self._group(config, kind, count)[place] for kind, count in Counter(kinds).items()}
            mlp = self._mlp(config, number).blocks[place].mlp
            blocks.append(BlockAmounts(shared=rest.blocks[place].shared, groups=groups, mlp=mlp))
            ends = ends or rest
        assert ends is not None  # noqa: S101 - a configuration has blocks
        return ModelAmounts(stem=ends.stem, blocks=tuple(blocks), head=ends.head)

    def head_seconds(self, config: ViTConfig, block: int, kind: AttentionKind) -> float:
        """Return the seconds of one of a block's heads if all are of this kind: their group's, divided by their
        number.
        """
        count = len(config.blocks[block].heads)
        group = self._group(config, kind, count)[-1 if block == config.depth - 1 else 0]
        return seconds(group, self.profile) / count

    def mlp_seconds(self, config: ViTConfig, block: int) -> float:
        """Return the seconds of a block's MLP."""
        place = -1 if block == config.depth - 1 else 0
        return seconds(self._mlp(config, block).blocks[place].mlp, self.profile)

    def _mlp(self, config: ViTConfig, block: int) -> ModelAmounts:
        """Return a probe with a block's MLP."""
        return self._probe(_probe(config, block, (_FILLER,) * config.head_count))

    def _group(self, config: ViTConfig, kind: AttentionKind, count: int) -> list[Amounts]:
        """Return amounts of a group of heads in every block of a probe. Independent of the block's other parts."""
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
        facts = [mpcvit.__version__, sources_digest(), plain(config), asdict(self._precision)]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        if key not in self._probes:
            by_network = self._read(key) or self._export(config, key)
            self._probes[key] = by_network[self.profile.name]
        return self._probes[key]

    def _read(self, key: str) -> dict[str, ModelAmounts] | None:
        if self._folder is None or not (self._folder / f"{key[:32]}.json").exists():
            return None
        document = json.loads((self._folder / f"{key[:32]}.json").read_text())
        return {network: from_document(ModelAmounts, amounts) for network, amounts in document["amounts"].items()}

    def _export(self, config: ViTConfig, key: str) -> dict[str, ModelAmounts]:
        self._on_probe(f"{'+'.join(dict.fromkeys(config.blocks[0].heads))}, {config.blocks[0].activation}")
        exported = random_export(config, self._precision)
        by_network = {
            name: plan_amounts(make_plan(exported.program, objective(name)), exported.parts) for name in PROFILES
        }
        if self._folder is not None:
            amounts = {network: to_document(found) for network, found in by_network.items()}
            self._folder.mkdir(parents=True, exist_ok=True)
            document = {"config": to_document(config), "amounts": amounts}
            write_whole(self._folder / f"{key[:32]}.json", json.dumps(document, indent=1) + "\n")
        return by_network


@cache
def sources_digest() -> str:
    """Return a digest of the code that decides what a plan does."""
    digest = hashlib.sha256()
    for package in _SOURCES:
        root = Path(str(files("mpcvit") / package))
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _probe(config: ViTConfig, block: int, heads: tuple[AttentionKind, ...]) -> ViTConfig:
    """Return a model of blocks like block number ``block`` of ``config``, but for the heads: one before the last, and
    that.

    In a canonical form, so that equal parts share a probe: heads in order, neighbouring positions of gates.
    """
    gate = config.blocks[block].gate
    if gate is not None:
        # position 0 stays what it is: behind the last attention a class token may be the only one left
        first = 0 if gate.kept[0] == 0 else 1
        gate = replace(gate, kept=tuple(range(first, first + len(gate.kept))))
    alike = replace(
        config.blocks[block],
        heads=tuple(sorted(heads)),
        gate=gate,
        reduction=None,
        shares=False,  # which changes what a load costs, but no inference
    )
    return replace(
        config, head_width=config.head_dim, lepe=config.filters_per_head * len(heads), blocks=(alike,) * _DEPTH
    )


def _equal_mlps(config: ViTConfig) -> ViTConfig:
    """Return ``config`` with MLPs of one width, so that few probes have the attentions of blocks of many widths."""
    widths = {block.hidden for block in config.blocks}
    if len(widths) == 1 or any(block.ranks != FULL for block in config.blocks):
        return config
    return replace(config, blocks=tuple(replace(block, hidden=max(widths), gate=None) for block in config.blocks))


def _plain(config: ViTConfig) -> ViTConfig:
    """Return ``config`` with the simplest MLPs and layer norms: groups of heads do not depend on them."""
    width = max(block.hidden for block in config.blocks)
    blocks = (BlockConfig(heads=block.heads, activation=Activation.RELU, hidden=width) for block in config.blocks)
    return replace(config, blocks=tuple(blocks))
