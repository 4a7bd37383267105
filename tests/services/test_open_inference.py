"""The Open Inference Protocol at both parties: by our own stubs, and by a stock client in an environment of its own."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from PIL import Image

import mpcvit
from mpcvit.client import Client, ClientSettings
from mpcvit.data.image_set import ImageSet
from mpcvit.data.normalise import normalise
from mpcvit.errors import (
    ConfigError,
    InputError,
    InputOutOfRange,
    InvalidShare,
    ModelMismatch,
    MpcvitError,
    NotAllowed,
    SessionExpired,
    SessionReplayed,
    ShapeMismatch,
)
from mpcvit.models.vit import VisionTransformer
from mpcvit.ring.fixed_point import Codes
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.status import from_rpc_error
from mpcvit.wire.tls import TlsFiles
from parties.common.settings import Limits
from parties.local.cluster import CLIENT_ROLE, LocalCluster
from parties.party.open_inference.stubs import grpc_service_pb2 as pb
from parties.party.open_inference.stubs import grpc_service_pb2_grpc as pb_grpc
from tests.support.channels import secure_channel

ROOT = Path(__file__).resolve().parents[2]
STOCK = "tritonclient[grpc]==2.73.0"


class Stock:
    """What any client of the protocol does, with our stubs.

    Attributes:
        stubs: one per party.
        manifest: the only model's.
    """

    def __init__(self, cluster: LocalCluster, stack: ExitStack, role: str = CLIENT_ROLE) -> None:
        files = TlsFiles.in_folder(cluster.folder / "tls", role)
        addresses = ClientSettings.read(cluster.client_config).parties
        self.stubs = [
            pb_grpc.GRPCInferenceServiceStub(stack.enter_context(secure_channel(address, files, f"party{index}")))
            for index, address in enumerate(addresses)
        ]

    def infer(self, requests: list[pb.ModelInferRequest]) -> list[pb.ModelInferResponse]:
        """Send each party its request, all at once."""
        with ThreadPoolExecutor(len(requests)) as pool:
            calls = [
                pool.submit(stub.ModelInfer, request, timeout=60)
                for stub, request in zip(self.stubs, requests, strict=True)
            ]
        return [call.result() for call in calls]


@pytest.fixture(scope="module", autouse=True)
def _ready(cluster: LocalCluster) -> None:
    """A party serves before it is ready: material for its first session comes meanwhile."""
    end = time.monotonic() + 90
    with ExitStack() as stack:
        for stub in Stock(cluster, stack).stubs:
            while not stub.ServerReady(pb.ServerReadyRequest(), timeout=10).ready:
                assert time.monotonic() < end
                time.sleep(0.1)


@pytest.fixture
def stock(cluster: LocalCluster) -> Iterator[Stock]:
    with ExitStack() as stack:
        yield Stock(cluster, stack)


@pytest.fixture(scope="module")
def manifest(cluster: LocalCluster) -> Manifest:
    """The only model's."""
    with Client.from_config(cluster.client_config) as client:
        (only,) = client.models()
    return only


def parameters(**values: str | int) -> dict[str, pb.InferParameter]:
    """Of a request."""
    kinds = {str: "string_param", int: "int64_param"}
    return {name: pb.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def request(manifest: Manifest, share: Codes, *, raw: bool = True, **values: str | int) -> pb.ModelInferRequest:
    """A good request with one share; ``values`` are its parameters."""
    contents = None if raw else pb.InferTensorContents(int64_contents=share.reshape(-1).tolist())
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="pixels_share", datatype="INT64", shape=share.shape, contents=contents
    )
    return pb.ModelInferRequest(
        model_name=manifest.name,
        id="mine",
        parameters=parameters(**values),
        inputs=[tensor],
        raw_input_contents=[share.tobytes()] if raw else [],
    )


def halves(image: np.ndarray) -> list[Codes]:
    """Both parties' shares of a picture."""
    codes = image.transpose(2, 0, 1).astype(np.int64)
    mask = np.frombuffer(secrets.token_bytes(codes.nbytes), dtype=np.int64).reshape(codes.shape)
    return [mask, codes - mask]


def test_metadata_says_what_to_send(stock: Stock, manifest: Manifest) -> None:
    """Every party is live and ready, names itself and its extension, and describes the model's shares."""
    for stub in stock.stubs:
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        server = stub.ServerMetadata(pb.ServerMetadataRequest())
        assert (server.name, server.version, list(server.extensions)) == ("mpcvit", mpcvit.__version__, ["mpcvit.v1"])
        for version in ("", manifest.version):
            assert stub.ModelReady(pb.ModelReadyRequest(name=manifest.name, version=version)).ready
            model = stub.ModelMetadata(pb.ModelMetadataRequest(name=manifest.name, version=version))
            assert (model.name, list(model.versions), model.platform) == (manifest.name, [manifest.version], "mpcvit")
            assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("pixels_share", "INT64", [3, 8, 8])]
            assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [("logits_share", "INT64", [3])]
        assert not stub.ModelReady(pb.ModelReadyRequest(name="other")).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name=manifest.name, version="9")).ready
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelMetadata(pb.ModelMetadataRequest(name="other"))
        assert isinstance(from_rpc_error(caught.value, "party"), ModelMismatch)


@pytest.mark.parametrize("pinned", [False, True])
def test_shares_of_a_picture_give_shares_of_its_logits(
    stock: Stock, manifest: Manifest, tiny_model: VisionTransformer, tiny_pictures: ImageSet, pinned: bool
) -> None:
    """The sum over both parties is the answer, with or without a pinned manifest; contents may be raw or not."""
    image = tiny_pictures.images[0]
    session = secrets.token_hex(16)
    pins: dict[str, str | int] = {"manifest_sha256": manifest.digest.hex(), "expires_at": int(time.time()) + 60}
    answers = stock.infer(
        [
            request(
                manifest, share, raw=pinned, session_id=session, **({"share_index": index, **pins} if pinned else {})
            )
            for index, share in enumerate(halves(image))
        ]
    )
    outputs = [answer.outputs[0] for answer in answers]
    assert {(output.name, output.datatype, tuple(output.shape)) for output in outputs} == {
        ("logits_share", "INT64", (3,))
    }
    shares = [np.frombuffer(answer.raw_output_contents[0], dtype=np.int64) for answer in answers]
    facts = outputs[0].parameters
    logits = np.sum(shares, axis=0) / 2.0 ** facts["fraction_bits"].int64_param
    with torch.inference_mode():
        plain = tiny_model(normalise(tiny_pictures.images[:1], (0.5,) * 3, (0.25,) * 3)).numpy()[0]
    assert np.abs(logits - plain).max() < 0.05
    assert facts["lowest"].double_param <= logits.min() <= logits.max() <= facts["highest"].double_param
    for answer in answers:
        assert (answer.id, answer.model_name, answer.model_version) == ("mine", manifest.name, manifest.version)
        assert answer.parameters["session_id"].string_param == session
        assert answer.parameters["manifest_sha256"].string_param == manifest.digest.hex()
        assert answer.parameters["rounds"].int64_param > 0
    assert len({answer.parameters["guard_digest"].string_param for answer in answers}) == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"session_id": "abc"}, InputError),
        ({"session_id": 5}, InputError),
        ({"session_id": None}, InputError),
        ({"manifest_sha256": "00" * 32}, ModelMismatch),
        ({"expires_at": 1}, SessionExpired),
        ({"expires_at": "soon"}, InputError),
        ({"share_index": 1}, InvalidShare),
    ],
)
def test_wrong_parameters_are_refused(
    stock: Stock, manifest: Manifest, change: dict[str, Any], kind: type[MpcvitError]
) -> None:
    """Typed errors of the party that was asked, before anything is held."""
    values = {"session_id": secrets.token_hex(16), **change}
    good = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(grpc.RpcError) as caught:
        stock.stubs[0].ModelInfer(request(manifest, np.zeros((3, 8, 8), np.int64), **good))
    error = from_rpc_error(caught.value, "nobody")
    assert (type(error), error.origin) == (kind, "party0")
    if kind is InputError:
        assert next(iter(change)) in error.got


def test_wrong_tensors_are_refused(stock: Stock, manifest: Manifest) -> None:
    """Another model, name, datatype, shape, length, none, two, twice, or another output."""
    zeros = np.zeros((3, 8, 8), np.int64)

    def refused(kind: type[MpcvitError], **changes: Any) -> None:
        wrong = request(manifest, zeros, session_id=secrets.token_hex(16))
        tensor = wrong.inputs[0]
        for name, value in changes.items():
            target = tensor if name in ("name", "datatype") else wrong
            if isinstance(value, str):
                setattr(target, name, value)
            else:
                wrong.ClearField(name) if name != "shape" else tensor.ClearField("shape")
                getattr(tensor if name == "shape" else wrong, name).extend(value)
        with pytest.raises(grpc.RpcError) as caught:
            stock.stubs[0].ModelInfer(wrong)
        assert type(from_rpc_error(caught.value, "party0")) is kind

    refused(ModelMismatch, model_name="other")
    refused(ModelMismatch, model_version="9")
    refused(InvalidShare, name="pixels")
    refused(InvalidShare, datatype="FP32")
    refused(ShapeMismatch, shape=[1, 3, 8, 8])
    refused(InvalidShare, raw_input_contents=[bytes(8)])
    refused(InvalidShare, raw_input_contents=[])
    refused(InvalidShare, inputs=[])
    refused(InputError, outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="logits")])


def test_a_session_serves_once_and_checks_its_picture(stock: Stock, manifest: Manifest) -> None:
    """What is no picture is INPUT_OUT_OF_RANGE at both parties; its session cannot be used again."""
    wrong = np.full((8, 8, 3), 256, dtype=np.int64)
    session = secrets.token_hex(16)
    requests = [request(manifest, share, session_id=session) for share in halves(wrong)]
    kinds = set()
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(stub.ModelInfer, one) for stub, one in zip(stock.stubs, requests, strict=True)]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call.result()
            kinds.add(type(from_rpc_error(caught.value, "party")))
    assert kinds == {InputOutOfRange, SessionReplayed}


def test_a_client_that_goes_away_gives_its_session_up(
    stock: Stock, manifest: Manifest, tiny_pictures: ImageSet
) -> None:
    """More calls than a client may hold sessions, all hung up on: the party forgets each, and serves the next."""
    shares = halves(tiny_pictures.images[0])
    for _ in range(Limits().sessions_of_client + 2):
        call = stock.stubs[0].ModelInfer.future(request(manifest, shares[0], session_id=secrets.token_hex(16)))
        time.sleep(0.1)
        call.cancel()
    time.sleep(0.5)
    session = secrets.token_hex(16)
    answers = stock.infer([request(manifest, share, session_id=session) for share in shares])
    assert all(len(answer.raw_output_contents[0]) == 8 * 3 for answer in answers)


def test_sessions_run_side_by_side(stock: Stock, manifest: Manifest, tiny_pictures: ImageSet) -> None:
    """Several at once get their own answers: those that they get alone."""

    def logits(number: int) -> np.ndarray:
        session = secrets.token_hex(16)
        shares = halves(tiny_pictures.images[number])
        answers = stock.infer([request(manifest, share, session_id=session) for share in shares])
        return np.sum([np.frombuffer(answer.raw_output_contents[0], dtype=np.int64) for answer in answers], axis=0)

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(logits, range(6)))
    alone = [logits(number) for number in range(6)]
    assert np.abs(np.array(together) - np.array(alone)).max() < 0.05 * 2**manifest.output_type.frac


def test_roles_are_checked(cluster: LocalCluster) -> None:
    """A party's certificate may not call the clients' service."""
    with ExitStack() as stack:
        stub = Stock(cluster, stack, "party1").stubs[0]
        for call in (
            lambda: stub.ServerLive(pb.ServerLiveRequest()),
            lambda: stub.ServerReady(pb.ServerReadyRequest()),
            lambda: stub.ModelReady(pb.ModelReadyRequest()),
            lambda: stub.ServerMetadata(pb.ServerMetadataRequest()),
            lambda: stub.ModelMetadata(pb.ModelMetadataRequest()),
            lambda: stub.ModelInfer(pb.ModelInferRequest()),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert isinstance(from_rpc_error(caught.value, "party0"), NotAllowed)


def test_other_ports_and_other_methods_say_so(cluster: LocalCluster) -> None:
    """The peer port names the client port; a method of the protocol that is not served is unimplemented."""
    files = TlsFiles.in_folder(cluster.folder / "tls", CLIENT_ROLE)
    listen = yaml.safe_load((cluster.folder / "party0.yaml").read_text())["listen"]
    with secure_channel(listen["peer"], files, "party0") as channel, pytest.raises(grpc.RpcError) as caught:
        pb_grpc.GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=10)
    error = from_rpc_error(caught.value, "party0")
    assert isinstance(error, ConfigError)
    assert "client port" in error.expected
    with secure_channel(listen["client"], files, "party0") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ModelConfig")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="session")
def stock_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with Triton's client and without mpcvit: their protobuf packages clash in one process."""
    folder = tmp_path_factory.mktemp("stock")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", STOCK, "pillow"], capture_output=True, text=True, check=False
    )
    if install.returncode:
        pytest.skip(f"{STOCK} cannot be installed here: {install.stderr.strip().splitlines()[-1]}")
    return python


def run(python: Path, *words: str | Path, folder: Path) -> str:
    """What a program prints that runs without this project on its path."""
    done = subprocess.run(
        [str(python), "-I", *map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_our_protos_are_the_stock_clients(stock_python: Path, tmp_path: Path) -> None:
    """Every message, field and method that we have, Triton's client has the same."""
    program = (
        "import sys\n"
        "from tritonclient.grpc import service_pb2\n"
        "open(sys.argv[1], 'wb').write(service_pb2.DESCRIPTOR.serialized_pb)\n"
    )
    run(stock_python, "-c", program, tmp_path / "theirs", folder=tmp_path)
    theirs, ours = FileDescriptorProto.FromString((tmp_path / "theirs").read_bytes()), FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)
    assert ours.package == theirs.package
    messages = {message.name: message for message in theirs.message_type}
    for message in ours.message_type:
        assert messages[message.name] == message
    methods = {method.name: method for method in theirs.service[0].method}
    assert ours.service[0].name == theirs.service[0].name
    for method in ours.service[0].method:
        other = methods[method.name]
        assert (other.input_type, other.output_type) == (method.input_type, method.output_type)
        assert (other.client_streaming, other.server_streaming) == (False, False)


def test_a_stock_client_gets_the_sdks_answer(
    cluster: LocalCluster, stock_python: Path, tiny_folder: Path, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """Triton's client, numpy and nothing of ours: healthy, right, and typed where it asks for something wrong."""
    Image.fromarray(tiny_pictures.images[0]).save(tmp_path / "picture.png")
    script = ROOT / "tests" / "support" / "stock_client.py"
    settings = ClientSettings.read(cluster.client_config)
    manifest = next(cluster.folder.glob("shares/party0/manifest.json"))
    said = json.loads(
        run(
            stock_python,
            script,
            ROOT / "examples",
            tmp_path / "picture.png",
            manifest,
            cluster.folder / "tls",
            CLIENT_ROLE,
            *settings.parties,
            folder=tmp_path,
        )
    )
    with Client.from_config(cluster.client_config) as client:
        answer = client.infer(tiny_pictures.images[0])
    assert said["modules_of_ours"] == []
    assert said["parties"] == 2 * [[True, True, True, ["mpcvit.v1"], [["pixels_share", "INT64", ["3", "8", "8"]]]]]
    assert np.abs(np.array(said["logits"]) - answer.logits).max() < 0.01
    assert "FAILED_PRECONDITION" in said["wrong_model"]
    assert "other" in said["wrong_model"]
    assert "INVALID_ARGUMENT" in said["wrong_shape"]
    assert "expected" in said["wrong_shape"]


def test_the_example_prints_labels(
    cluster: LocalCluster, stock_python: Path, tiny_pictures: ImageSet, tmp_path: Path
) -> None:
    """examples/open_inference.py as its page says."""
    Image.fromarray(tiny_pictures.images[0]).save(tmp_path / "picture.png")
    parties = [word for address in ClientSettings.read(cluster.client_config).parties for word in ("--party", address)]
    printed = run(
        stock_python,
        ROOT / "examples" / "open_inference.py",
        tmp_path / "picture.png",
        "--manifest",
        cluster.folder / "shares" / "party0" / "manifest.json",
        "--tls",
        cluster.folder / "tls",
        "--role",
        CLIENT_ROLE,
        *parties,
        folder=tmp_path,
    )
    with Client.from_config(cluster.client_config) as client:
        answer = client.infer(tiny_pictures.images[0])
    lines = [line.split() for line in printed.splitlines()]
    assert [label for label, _ in lines] == [label for label, _ in answer.top(3)]
    assert sum(float(probability) for _, probability in lines) == pytest.approx(1, abs=1e-3)
