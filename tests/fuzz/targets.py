"""What parses bytes of others, as functions of bytes: each returns, or raises an error of ours."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from google.protobuf.message import DecodeError
from PIL import Image

from mpcvit.errors import MpcvitError
from mpcvit.inputs import InputKind, InputSpec
from mpcvit.inputs.read import read_input
from mpcvit.picture import Fit, read_picture
from mpcvit.program.files import parse_program, parse_tensors
from mpcvit.wire.codec import join_chunks
from mpcvit.wire.manifest import Manifest
from mpcvit.wire.v1 import inference_pb2, peer_pb2
from parties.common.settings import DealerSettings, PartySettings
from parties.party.peer_stream import PeerStream
from tests.support.medical import dicom, nifti, npy, pages
from tests.support.stand_in import MANIFEST

_PATH = Path("fuzzed")
_LARGEST_FRAME = 1 << 16


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        parse: raises nothing but :class:`MpcvitError`.
        seeds: what it accepts, to begin with.
    """

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _messages(raw: bytes) -> Iterator[bytes]:
    """Cut ``raw`` into messages: a byte says how long each is."""
    while raw:
        length = 1 + raw[0]
        yield raw[1:length]
        raw = raw[length:]


def _frames(raw: bytes) -> None:
    """A peer's stream of messages, as gRPC hands them on."""
    stream = PeerStream(1, stall_s=1, largest_frame=_LARGEST_FRAME)
    parsed = []
    for message in _messages(raw):
        with suppress(DecodeError):  # gRPC ends the call
            parsed.append(peer_pb2.ExchangeRequest.FromString(message))
    stream.consume(parsed[:8])  # as many as wait unread
    while True:
        stream.get(0.0)  # ends with the error that ended the stream


def _upload(raw: bytes) -> bytes:
    """A client's share, in chunks of whatever sizes."""
    pieces = []
    for message in _messages(raw):
        with suppress(DecodeError):
            pieces.append(inference_pb2.SubmitShareRequest.FromString(message).chunk)
    return join_chunks(pieces, 64)


def _configuration(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.yaml"
        path.write_bytes(raw)
        for settings in (PartySettings, DealerSettings):
            settings.read(path)


def _frame(sequence: int, payload: bytes, length: int) -> bytes:
    chunk = peer_pb2.FrameChunk(sequence=sequence, tag="open", frame_bytes=length, payload=payload)
    message = peer_pb2.ExchangeRequest(chunk=chunk).SerializeToString()
    return bytes([len(message)]) + message


def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, kind)
    return file.getvalue()


_LISTEN = {"client": "127.0.0.1:1", "peer": "127.0.0.1:2", "health": "127.0.0.1:3"}
_PARTY = {
    "index": 0,
    "listen": _LISTEN,
    "tls": {"ca": "a", "cert": "b", "key": "c"},
    "peers": {1: "127.0.0.1:4"},
    "dealer": "127.0.0.1:5",
    "models": ["m"],
    "state": "s",
}

_VOLUME = InputSpec(kind=InputKind.VOLUME, shape=(2, 6, 8), bits=16, window=(-1000.0, 1000.0))

TARGETS = {
    "frames": Target(_frames, (_frame(0, b"abcd", 4), _frame(0, b"ab", 4) + _frame(0, b"cd", 4))),
    "upload": Target(_upload, (bytes([66]) + inference_pb2.SubmitShareRequest(chunk=bytes(64)).SerializeToString(),)),
    "manifest": Target(Manifest.parse, (MANIFEST.canonical(),)),
    "program": Target(lambda raw: parse_program(raw, _PATH), (b'{"inputs": {}, "nodes": [], "output": "x"}',)),
    "tensors": Target(lambda raw: parse_tensors(raw, _PATH), (b"\x02\0\0\0\0\0\0\0{}",)),
    "configuration": Target(_configuration, (yaml.safe_dump(_PARTY).encode(),)),
    "input": Target(
        lambda raw: read_input(raw, _VOLUME, Fit.MODEL),
        (
            dicom(np.arange(96, dtype=np.int16).reshape(2, 6, 8)),
            nifti(np.zeros((8, 6, 2), np.float32)),
            nifti(np.zeros((8, 6, 2), np.uint8), packed=True),
            npy(np.zeros((2, 6, 8), np.uint16)),
            pages(np.zeros((2, 6, 8), np.uint8)),
        ),
    ),
    "picture": Target(read_picture, tuple(_picture(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"))),
}


def try_one(target: Target, raw: bytes) -> None:
    """Parse ``raw``; anything but an error of ours goes on to the caller."""
    with suppress(MpcvitError):
        target.parse(raw)
