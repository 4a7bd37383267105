"""``mpcvit diagnose`` names the real cause of what goes wrong on the way to the parties.

The servers are gRPC's own, with certificates and ports of two parties and a dealer; only their services are stand-ins.
"""

from __future__ import annotations

import datetime
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from mpcvit.cli.main import app
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.tls import Pem
from mpcvit.wire.v1 import inference_pb2, inference_pb2_grpc
from parties.common.other_port import OtherPort
from parties.local.provision import provision_local
from tests.support.servers import Handlers, pem_of, start_server
from tests.support.stand_in import MANIFEST

ROLES = ["party0", "party1", "dealer", "demo.client"]


class Models(inference_pb2_grpc.InferenceServiceServicer):
    """A party that serves a list of models and nothing else."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.manifests = manifests

    def ListModels(  # noqa: N802 - the proto's name
        self, request: inference_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> inference_pb2.ListModelsResponse:
        return inference_pb2.ListModelsResponse(manifests=[manifest.canonical() for manifest in self.manifests])


@dataclass
class Site:
    """Running ports of two parties and a dealer, and a client's configuration."""

    folder: Path
    ports: dict[str, str]
    models: list[Models]
    stack: ExitStack

    def config(self, **changes: Any) -> dict[str, Any]:
        tls = {"ca": "tls/ca.crt", "cert": "tls/demo.client.crt", "key": "tls/demo.client.key"}
        return {"tls": tls, "parties": [self.ports["party0 client"], self.ports["party1 client"]], **changes}

    def add_party(self, name: str, pem: Pem, models: Models) -> None:
        handlers = Handlers()
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(models, handlers)
        clients = [*handlers, OtherPort(name, "InferenceService")]
        self.ports[f"{name} client"] = start_server(self.stack, pem, clients)
        self.ports[f"{name} peer"] = start_server(self.stack, pem, [OtherPort(name, "PeerService")])


def _days(days: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A client's folder, and the servers that it calls."""
    tls = tmp_path / "tls"
    provision_local(tls, ROLES)
    with ExitStack() as stack:
        here = Site(tmp_path, {}, [Models([MANIFEST]), Models([MANIFEST])], stack)
        for index, models in enumerate(here.models):
            here.add_party(f"party{index}", pem_of(tls, f"party{index}"), models)
        here.ports["dealer"] = start_server(stack, pem_of(tls, "dealer"), [OtherPort("dealer", "DealerService")])
        here.ports["health"] = start_server(stack, None, [])
        yield here


def _diagnose(site: Site, document: dict[str, Any], code: int, **environment: str) -> dict[str, Any]:
    path = site.folder / "client.yaml"
    path.write_text(yaml.safe_dump(document))
    run = CliRunner().invoke(app, ["diagnose", "--config", str(path), "--json"], env=environment)
    assert run.exit_code == code, run.output
    return json.loads(run.stdout)


def test_a_good_set_up_is_good(site: Site) -> None:
    """With a pin, and whatever proxies the environment names."""
    names = ("http_proxy", "https_proxy", "grpc_proxy", "ALL_PROXY")
    document = site.config(pins={"tiny": MANIFEST.digest.hex().upper()})
    found = _diagnose(site, document, 0, **dict.fromkeys(names, "http://127.0.0.1:1"))
    assert list(found) == ["certificate", "party0", "party1", "models"]
    assert all(finding["ok"] for finding in found.values())
    assert found["certificate"]["fact"] == "demo.client"
    assert found["models"]["fact"] == "tiny 1"


def _parties(first: str, second: str = "party1 client") -> Callable[[Site], dict[str, Any]]:
    return lambda site: site.config(parties=[site.ports[first], site.ports[second]])


def _tls(**change: str) -> Callable[[Site], dict[str, Any]]:
    return lambda site: site.config(tls={**site.config()["tls"], **change})


def _own(days: int = 0, ca: str = "own/ca.crt") -> Callable[[Site], dict[str, Any]]:
    """A client's certificate of another authority, ``days`` from now."""

    def config(site: Site) -> dict[str, Any]:
        provision_local(site.folder / "own", ["demo.client"], now=_days(days))
        return _tls(ca=ca, cert="own/demo.client.crt", key="own/demo.client.key")(site)

    return config


def _server(days: int = 0) -> Callable[[Site], dict[str, Any]]:
    """Party 0 with a certificate of another authority, which the client trusts, ``days`` from now."""

    def config(site: Site) -> dict[str, Any]:
        provision_local(site.folder / "new", ["party0"], now=_days(days))
        trusted = site.folder / "both.crt"
        trusted.write_bytes((site.folder / "tls/ca.crt").read_bytes() + (site.folder / "new/ca.crt").read_bytes())
        site.add_party("party0", pem_of(site.folder / "new", "party0", trusted), site.models[0])
        return _tls(ca="both.crt")(site)

    return config


def _distrusting(site: Site) -> dict[str, Any]:
    """Party 0 with a good certificate, that trusts another authority than the client's."""
    provision_local(site.folder / "new", ["party0"])
    site.add_party("party0", pem_of(site.folder / "tls", "party0", site.folder / "new/ca.crt"), site.models[0])
    return site.config()


def _nobody(site: Site) -> dict[str, Any]:
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{holder.getsockname()[1]}"
    return site.config(parties=[address, site.ports["party1 client"]])


def _silent(site: Site) -> dict[str, Any]:
    """A server that accepts connections and says nothing."""
    listener = site.stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    return site.config(parties=[f"127.0.0.1:{listener.getsockname()[1]}", site.ports["party1 client"]])


def _serving(first: list[Manifest], second: list[Manifest], **changes: Any) -> Callable[[Site], dict[str, Any]]:
    def config(site: Site) -> dict[str, Any]:
        site.models[0].manifests, site.models[1].manifests = first, second
        return site.config(**changes)

    return config


OTHER = replace(MANIFEST, share_set="00" * 16)
THREE = replace(MANIFEST, parties=3, share_sha256=("01" * 32,) * 3)
CASES: dict[str, tuple[Callable[[Site], dict[str, Any]], str, str, str]] = {
    "peer port as client port": (_parties("party0 peer"), "party0", "CONFIG", "client port at the peer port of party0"),
    "dealer's port": (_parties("dealer"), "party0", "NOT_AUTHENTICATED", "it is for dealer.mpcvit"),
    "health port": (_parties("health"), "party0", "NOT_AUTHENTICATED", "does not speak TLS"),
    "parties in the wrong order": (
        _parties("party1 client", "party0 client"),
        "party0",
        "NOT_AUTHENTICATED",
        "it is for party1.mpcvit",
    ),
    "nobody listens": (_nobody, "party0", "PEER_LOST", "nobody listens there"),
    "a silent server": (_silent, "party0", "PEER_LOST", "no answer within"),
    "an unknown host": (
        lambda site: site.config(parties=["no-such-host.invalid:1", site.ports["party1 client"]]),
        "party0",
        "PEER_LOST",
        "no host of this name",
    ),
    "key of another certificate": (
        _tls(key="tls/party0.key"),
        "certificate",
        "CONFIG",
        "party0.key, which is not the key of",
    ),
    "certificate of another role": (
        _tls(cert="tls/party1.crt", key="tls/party1.key"),
        "certificate",
        "NOT_AUTHENTICATED",
        "for the role party1",
    ),
    "no such certificate": (_tls(cert="tls/none.crt"), "certificate", "CONFIG", "FileNotFoundError reading"),
    "own certificate expired": (_own(-800), "certificate", "NOT_AUTHENTICATED", "which expired on"),
    "own certificate not valid yet": (_own(9), "certificate", "NOT_AUTHENTICATED", "which is valid only from"),
    "own certificate of another authority": (
        _own(ca="tls/ca.crt"),
        "certificate",
        "NOT_AUTHENTICATED",
        "which no authority in",
    ),
    "another authority altogether": (_own(), "party0", "NOT_AUTHENTICATED", "unable to get local issuer certificate"),
    "party's certificate expired": (_server(-800), "party0", "NOT_AUTHENTICATED", "certificate has expired"),
    "party's certificate not valid yet": (_server(9), "party0", "NOT_AUTHENTICATED", "certificate is not yet valid"),
    "a party that does not trust our authority": (_distrusting, "party0", "NOT_AUTHENTICATED", "refused the handshake"),
    "a misspelt pin": (
        lambda site: site.config(pins={"tinny": MANIFEST.digest.hex()}),
        "models",
        "MODEL_MISMATCH",
        "a pin for 'tinny', which no party serves",
    ),
    "another model than is pinned": (
        lambda site: site.config(pins={"tiny": "00" * 32}),
        "models",
        "MODEL_MISMATCH",
        "with manifest digest",
    ),
    "different shares": (_serving([MANIFEST], [OTHER]), "models", "MODEL_MISMATCH", "served differently"),
    "a model at one party": (_serving([MANIFEST], []), "models", "MODEL_MISMATCH", "served differently"),
    "no model": (_serving([], []), "models", "MODEL_MISMATCH", "parties that serve no model"),
    "a third party is missing": (_serving([THREE], [THREE]), "models", "MODEL_MISMATCH", "shared among 3 parties"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_real_cause_is_named(site: Site, case: str) -> None:
    """At the subject where it lies, with a typed reason; the table for people says the same."""
    make, subject, reason, words = CASES[case]
    document = make(site)
    found = _diagnose(site, document, 2)
    assert not found[subject]["ok"]
    assert found[subject]["reason"] == reason
    assert words in found[subject]["error"]
    first = next(name for name, finding in found.items() if not finding["ok"])
    assert first == subject
    table = CliRunner().invoke(app, ["diagnose", "--config", str(site.folder / "client.yaml")], env={"COLUMNS": "300"})
    assert table.exit_code == 2
    assert reason in table.stdout


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MPCVIT_PARTIES", "p0:8443,p1:8443", "which is not JSON"),
        ("MPCVIT_PARTIES", '["p0:8443", "p1"]', "is no host:port"),
        ("MPCVIT_TLS__CERT", "/nowhere/client.crt", "/nowhere/client.crt"),
    ],
)
def test_a_bad_variable_is_blamed_and_not_the_file(site: Site, variable: str, value: str, words: str) -> None:
    found = _diagnose(site, site.config(), 2 if "TLS" in variable else 4, **{variable: value})
    said = str(found.get("error") or found["certificate"])
    assert words.split()[-1] in said
    assert "client.yaml" not in said
    assert "TLS" in variable or variable in said


def test_a_proxy_that_is_not_used_is_named(site: Site) -> None:
    """To whoever counts on it: behind a firewall, with nobody to reach directly."""
    found = _diagnose(site, _nobody(site), 2, https_proxy="http://127.0.0.1:1")
    assert "https_proxy in the environment is not used" in found["party0"]["error"]
