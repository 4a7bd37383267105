"""Two fast engines and a dealer in this process, without a network: for tests of what they say to each other."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mpcvit.program.program import Program
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Prg
from mpcvit.ring.sharing import join, split
from mpcvit.ring.sharing import mask as masked
from mpcvit.store.exported import ModelFolder
from mpcvit.store.shared import load_share, share_model
from mpcvit.wire.owners import ANYBODY
from mpcvit.wire.v1 import dealer_pb2, peer_pb2, session_pb2
from parties.common.ledger import Ledger
from parties.common.settings import DealerSettings, EngineName, PartySettings
from parties.dealer.lease import MaterialOrder
from parties.dealer.leases import Dealer
from parties.party.dealer_client import Lease, MaterialSink
from parties.party.grpc_link import GrpcLink
from parties.party.masked.engine import FastEngine
from parties.party.masked.follower import Follower
from parties.party.peer_stream import PeerStream
from parties.party.sessions import Finished, HeldSession

#: Nobody listens there, and nobody connects.
NOWHERE = [f"127.0.0.1:{port}" for port in range(1, 6)]
TLS = {"ca": "a", "cert": "b", "key": "c"}


def widened(tiny_folder: Path, target: Path) -> Path:
    """The tiny model with ranges declared so wide that almost every other inference has an ambiguous opening."""
    document = json.loads((tiny_folder / "program.json").read_text())
    for node in document["nodes"]:
        if node["name"] in ("block0.residual.sum", "pooled.written.sum"):
            bound = 2.0 ** (55 - node["type"]["frac"])
            node["type"] |= {"lo": -bound, "hi": bound}
    shutil.copytree(tiny_folder, target)
    folder = ModelFolder.load(tiny_folder)
    ModelFolder(folder.description, Program.from_json(document), folder.weights).save(target)
    return target


class LocalDealer:
    """One party's connection to a dealer of this process.

    Attributes:
        heard: all that the dealer hears from this party, in order: the call, and the request with random ids replaced.
    """

    def __init__(self, dealer: Dealer, party: int) -> None:
        self._dealer, self._party = dealer, party
        self.heard: list[tuple[str, str]] = []

    def lease(self, request: dealer_pb2.LeaseMaterialRequest) -> Lease:
        """As :meth:`DealerClient.lease`."""
        self._note("lease", request)
        order = MaterialOrder(
            request.material_id,
            request.program_sha256,
            request.model_version,
            request.parties,
            EngineName(request.engine),
            request.objective,
            request.weight_mask_id,
        )
        lease = self._dealer.lease(order, self._party)
        return Lease(request, lease.lease_id, lease.seed, lease.material_bytes, lease.plan_sha256)

    def release(self, material_id: bytes) -> None:
        """As :meth:`DealerClient.release`."""
        self._note("release", dealer_pb2.ReleaseMaterialRequest(material_id=material_id))
        self._dealer.release(material_id, self._party)

    def store(self, lease: Lease, target: MaterialSink, wanted: Callable[[], object]) -> None:
        """As :meth:`DealerClient.store`."""
        self._note("stream", dealer_pb2.StreamMaterialRequest(material_id=lease.request.material_id))
        for piece in self._dealer.stream(lease.request.material_id, self._party):
            wanted()
            target.write(piece)

    def weight_mask_seed(self, request: dealer_pb2.LeaseWeightMaskRequest) -> bytes:
        """As :meth:`DealerClient.weight_mask_seed`."""
        self._note("mask", request)
        return self._dealer.lease_weight_mask(
            request.weight_mask_id, request.program_sha256, request.manifest_sha256, self._party
        )

    def _note(self, call: str, request: Any) -> None:
        seen = type(request)()
        seen.CopyFrom(request)
        for name in ("material_id", "weight_mask_id"):
            if getattr(request, name, b""):
                setattr(seen, name, bytes(len(getattr(request, name))))
        self.heard.append((call, str(seen)))


class LocalDealers(list[LocalDealer]):
    """As :class:`Dealers`: the one dealer of this process."""

    current = 0


class _LocalPeer:
    """Party 0's stub of party 1."""

    def __init__(self, follower: Callable[[], Follower]) -> None:
        self._follower, self._pool = follower, ThreadPoolExecutor(2)
        self.PrepareMaterial = self

    def future(self, request: peer_pb2.PrepareMaterialRequest) -> Future[None]:
        """The call of ``PrepareMaterial``."""
        return self._pool.submit(self._follower().prepare, request)

    def OpenWeights(self, requests: Any, **_: Any) -> Iterator[peer_pb2.OpenWeightsResponse]:  # noqa: N802
        """The call of ``OpenWeights``."""
        for chunk in self._follower().answer_weights(iter(requests)):
            yield peer_pb2.OpenWeightsResponse(chunk=chunk)


class EnginePair:
    """Both parties' engines for one model, on a dealer of their own.

    Attributes:
        model: the model's folder.
        dealer: behind both engines.
        heard: what each party told it.
        ledgers: of the parties.
    """

    def __init__(self, model: Path, folder: Path) -> None:
        self.model = ModelFolder.load(model)
        _, shares = share_model(self.model, 2, folder / "shares")
        listen = {"party": NOWHERE[0], "health": NOWHERE[1]}
        self.dealer = Dealer(DealerSettings(listen=listen, tls=TLS, programs=[model], state=folder / "dealer"))
        self.connections = [LocalDealer(self.dealer, party) for party in (0, 1)]
        self.ledgers = [Ledger(folder / f"party{party}") for party in (0, 1)]
        self.engines: list[FastEngine] = []
        for party in (1, 0):
            settings = PartySettings(
                index=party,
                listen=dict(zip(("client", "peer", "health"), NOWHERE[:3], strict=True)),
                tls=TLS,
                peers={1 - party: NOWHERE[3]},
                dealer=NOWHERE[4],
                models=[shares[party]],
                state=folder / f"party{party}",
            )
            share = load_share(shares[party], party, ANYBODY)
            peer = _LocalPeer(lambda: self.engines[1].role)
            engine = FastEngine(
                settings,
                [share],
                LocalDealers([self.connections[party]]),
                peer,
                self.ledgers[party],
                lambda: None,
            )
            self.engines.insert(0, engine)
            self.share, self.settings = share, settings

    def __enter__(self) -> EnginePair:
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self.engines:
            engine.close()
        self.dealer.close()

    def wait_full(self) -> None:
        """Until material waits ready."""
        pool = self.engines[0].role.pools[self.share.manifest.key]
        deadline = time.monotonic() + 30
        while not pool.entries():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def infer(self, codes: Codes) -> tuple[Codes, list[Finished]]:
        """The joined result of one session, and how it ended at both parties."""
        spec = session_pb2.SessionSpec(
            session_id=secrets.token_bytes(16), model_name=self.share.manifest.name, input_shape=codes.shape
        )
        seed = secrets.token_bytes(32)
        inputs = [masked(Prg(seed), codes.shape, b"x"), split(codes, [Prg(seed)], b"x")]
        streams = [
            PeerStream(1 - party, stall_s=5, largest_frame=engine.largest_frame(self.share.manifest.key))
            for party, engine in enumerate(self.engines)
        ]
        for party, kind in ((0, peer_pb2.ExchangeRequest), (1, peer_pb2.ExchangeResponse)):
            outgoing = streams[party].outgoing(kind)
            threading.Thread(target=streams[1 - party].consume, args=(outgoing,), daemon=True).start()

        def run(party: int) -> Finished:
            session = HeldSession(spec, "client", self.share, inputs[party], {1 - party: streams[party]})
            link = GrpcLink(party, 2, session.streams, 20)
            try:
                return self.engines[party].offline(session, link)(lambda done, total: None)
            finally:
                self.engines[party].release(session)
                streams[party].finish()

        with ThreadPoolExecutor(2) as pool:
            finished = list(pool.map(run, (0, 1)))
        return join([one.result.codes for one in finished]), finished


def burned(ledger: Ledger) -> dict[str, str]:
    """The state of every material that a party has burned."""
    with ledger._database.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT id, state FROM sessions WHERE id LIKE 'material/%'").all()
    return {name.removeprefix("material/"): state for name, state in rows}
