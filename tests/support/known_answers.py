"""Known answers: what the vectors in tests/vectors give, computed; by the tests, and by who writes the files anew.

A vector has a name, what is ``given``, the ``answer``, and ``tampered``: changes of what was dealt, each with what
comes of it. Arrays are hexadecimal, little-endian.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mpcvit import zoo
from mpcvit.engines.crypten.cost import stock_cost
from mpcvit.engines.masked.cost import fast_cost
from mpcvit.engines.masked.dealer import deal_plan
from mpcvit.engines.masked.executor import PreparedPlan, run_fast
from mpcvit.engines.masked.objective import OBJECTIVES
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.plan_material import MemoryPlanMaterial
from mpcvit.engines.masked.weights import FastWeights
from mpcvit.errors import MpcvitError
from mpcvit.fss import compare, dcf, unit_vector
from mpcvit.fss.checks import Words
from mpcvit.fss.tree_hash import TreeHash
from mpcvit.program.program import Program
from mpcvit.program.reference import run_reference
from mpcvit.store.exported import ModelFolder
from mpcvit.transport.link import Link
from mpcvit.transport.threads import run_parties
from mpcvit.wire.result_share import ResultShare
from tests.support.protocol_variants import variants

VECTORS = Path(__file__).parents[1] / "vectors"

Vector = dict[str, Any]


def load(name: str) -> list[Vector]:
    """The vectors of one file."""
    vectors: list[Vector] = json.loads((VECTORS / f"{name}.json").read_text())
    return vectors


def words_of(text: str, *shape: int) -> Words:
    """Ring words from their hexadecimal bytes."""
    return np.frombuffer(bytes.fromhex(text), dtype=np.uint64).reshape(shape)


def hexed(array: npt.NDArray[Any]) -> str:
    """An array's bytes in hexadecimal."""
    return np.ascontiguousarray(array).tobytes().hex()


def changed(raw: bytes, change: Vector) -> bytes:
    """``raw`` without its last byte (``cut``), or with the bits of one byte flipped."""
    if change["change"] == "cut":
        return raw[:-1]
    flipped = bytearray(raw)
    flipped[change["byte"]] ^= change["xor"]
    return bytes(flipped)


def outcome(compute: Callable[[], Vector]) -> Vector:
    """What comes of something that was tampered with: a result, or a typed error."""
    try:
        return compute()
    except MpcvitError as error:
        return {"error": type(error).__name__}


class KeyVector:
    """Keys of one kind of function share, dealt and evaluated at public points.

    Args:
        given: ``kind``, ``session``, ``bits``, ``secrets``, ``roots`` of both parties, ``points`` and, if the kind has
            one, a ``payload`` per element.
    """

    def __init__(self, given: Vector) -> None:
        self._kind, self._bits = given["kind"], given["bits"]
        self._hash = TreeHash.for_session(bytes.fromhex(given["session"]))
        self._secrets = np.array(given["secrets"], dtype=np.uint64)
        self._roots = [words_of(root, -1, 2) for root in given["roots"]]
        self._points = np.array(given["points"], dtype=np.uint64)
        self._payload = np.array(given.get("payload", [[]]), dtype=np.uint64)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the parts of a key."""
        count, words = len(self._secrets), self._payload.shape[1]
        return {
            "compare": [(compare.levels(self._bits) + 1, count, 2)],
            "dcf": [(self._bits - 1, count, 2), (self._bits, count, words)],
            "unit vector": [(self._bits - 1, count, 2), (count, words, 2)],
        }[self._kind]

    def deal(self) -> list[Words]:
        """The parts of the keys, the same for both parties."""
        pair = (self._roots[0], self._roots[1])
        if self._kind == "compare":
            return [compare.deal(self._hash, self._secrets, self._bits, pair)]
        deal = dcf.deal if self._kind == "dcf" else unit_vector.deal
        return list(deal(self._hash, self._secrets, self._bits, self._payload, pair))

    def shares(self, keys: list[Words]) -> list[npt.NDArray[Any]]:
        """Both parties' shares."""
        return [self._evaluate(party, keys) for party in (0, 1)]

    def result(self, shares: list[npt.NDArray[Any]]) -> list[Any]:
        """What the shares say together."""
        joined = shares[0] ^ shares[1] if self._kind == "compare" else shares[0] + shares[1]
        result: list[Any] = joined.tolist()
        return result

    def answer(self) -> Vector:
        """The keys, each party's shares, and the result."""
        keys = self.deal()
        shares = self.shares(keys)
        return {"keys": [hexed(key) for key in keys], "shares": list(map(hexed, shares)), "result": self.result(shares)}

    def tampered(self, keys: list[str], change: Vector) -> Vector:
        """The result with one part of the keys changed at both parties."""
        raw = [bytes.fromhex(key) for key in keys]
        raw[change["part"]] = changed(raw[change["part"]], change)
        words = [np.frombuffer(one[: len(one) // 8 * 8], dtype=np.uint64) for one in raw]
        parts = [
            one.reshape(shape) if one.nbytes == 8 * np.prod(shape) else one
            for one, shape in zip(words, self.shapes, strict=True)
        ]
        return outcome(lambda: {"result": self.result(self.shares(parts))})

    def _evaluate(self, party: int, keys: list[Words]) -> npt.NDArray[Any]:
        root = self._roots[party]
        if self._kind == "compare":
            return compare.evaluate(self._hash, party, root, keys[0], self._points, self._bits)
        if self._kind == "dcf":
            return dcf.evaluate(self._hash, party, root, keys[0], keys[1], self._points, self._bits)
        return unit_vector.expand(self._hash, party, root, keys[0], keys[1], self._bits)


class StepVector:
    """A Program of one op on the fast engine: the material of its plan, and what two parties make of it.

    Args:
        given: ``program``, the ``protocol`` of its node ``op``, ``session``, both parties' ``seeds``, their ``common``
            seed, and both shares of every one of its ``inputs``.
    """

    def __init__(self, given: Vector) -> None:
        self._given = given
        self.plan = plan_with(Program.from_json(given["program"]), given["protocol"])
        self._session = bytes.fromhex(given["session"])
        self._seeds = [bytes.fromhex(seed) for seed in given["seeds"]]

    def deal(self) -> list[dict[str, str]]:
        """Each party's material by step."""
        dealt = list(deal_plan(self.plan, self._session, self._seeds, {}))
        return [{step.name: step.sent[party].hex() for step in dealt if step.sent[party]} for party in (0, 1)]

    def answer(self) -> Vector:
        """The plan, the material, both shares of the result, and what it is."""
        material = self.deal()
        return {"plan": self.plan.digest.hex(), "material": material, **self._run(material)}

    def tampered(self, material: list[dict[str, str]], change: Vector) -> Vector:
        """The result with a step's material changed at one party."""
        party, step = change["party"], change["step"]
        sent = [dict(one) for one in material]
        sent[party][step] = changed(bytes.fromhex(sent[party][step]), change).hex()
        result = outcome(lambda: self._run(sent))
        return {key: result[key] for key in ("error", "output", "trusted") if key in result}

    def _run(self, material: list[dict[str, str]]) -> Vector:
        def party(link: Link) -> ResultShare:
            own = link.index
            sent = b"".join(bytes.fromhex(one) for one in material[own].values())
            given = MemoryPlanMaterial(self._seeds[own], self._session, sent)
            prepared = PreparedPlan(self.plan, own, given, FastWeights({}))
            inputs = {
                name: words_of(shares[own], *self.plan.program.inputs[name].shape).view(np.int64).copy()
                for name, shares in self._given["inputs"].items()
            }
            return run_fast(link, prepared, inputs, bytes.fromhex(self._given["common"]))

        first, second = run_parties(2, party)
        return {
            "shares": [hexed(one.codes) for one in (first, second)],
            "output": (first.codes + second.codes).tolist(),
            "trusted": first.digest == second.digest,
        }


def plan_with(program: Program, protocol: str) -> Plan:
    """The plan of ``program`` in which the node ``op`` is run by the protocol of this ``repr``."""
    plans = {repr(plan.steps[plan.step_index["op"]].protocol): plan for plan in candidates(program)}
    return plans[protocol]


def candidates(program: Program) -> list[Plan]:
    """The plan of ``program`` with each protocol of the node ``op``, guarded ones too."""
    plans = []
    for plan in variants(program):
        index = plan.step_index["op"]
        step = plan.steps[index]
        guarded = step.protocol.with_guard()
        plans.append(plan)
        if guarded is not None and guarded != step.protocol:
            steps = (*plan.steps[:index], replace(step, protocol=guarded), *plan.steps[index + 1 :])
            plans.append(replace(plan, steps=steps))
    return plans


def shipped_answer(name: str) -> Vector:
    """Digests, costs and logits of a model that comes with the package."""
    model = ModelFolder.load(zoo.folder(name))
    pictures = np.random.default_rng(5).integers(0, 256, (20, 3, 32, 32))
    logits = run_reference(model.program, model.weights, {"image": pictures})
    plans = {goal: make_plan(model.program, objective) for goal, objective in OBJECTIVES.items()}
    return {
        "program": model.program.digest,
        "plans": {goal: plan.digest.hex() for goal, plan in plans.items()},
        "fast": {goal: _cost(fast_cost(plan).total) for goal, plan in plans.items()},
        "stock": {str(parties): _cost(stock_cost(model.program, parties).total) for parties in (2, 3)},
        "logits": hashlib.sha256(logits.tobytes()).hexdigest(),
    }


def _cost(total: Any) -> Vector:
    return {
        "rounds": total.rounds,
        "bytes_sent": list(total.bytes_sent),
        "material_bytes": list(total.material_bytes),
        "macs": total.macs,
        "comparisons": total.comparisons,
    }
