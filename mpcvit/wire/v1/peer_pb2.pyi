from mpcvit.wire.v1 import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckPeerRequest(_message.Message):
    __slots__ = ("protocol_version", "ledger")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    ledger: _session_pb2.LedgerMark
    def __init__(self, protocol_version: _Optional[int] = ..., ledger: _Optional[_Union[_session_pb2.LedgerMark, _Mapping]] = ...) -> None: ...

class CheckPeerResponse(_message.Message):
    __slots__ = ("protocol_version", "ledger", "unix_time_s", "audit", "manifest_sha256")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_S_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    ledger: _session_pb2.LedgerMark
    unix_time_s: float
    audit: _session_pb2.AuditHead
    manifest_sha256: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, protocol_version: _Optional[int] = ..., ledger: _Optional[_Union[_session_pb2.LedgerMark, _Mapping]] = ..., unix_time_s: _Optional[float] = ..., audit: _Optional[_Union[_session_pb2.AuditHead, _Mapping]] = ..., manifest_sha256: _Optional[_Iterable[bytes]] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("spec", "engine", "protocol_version", "dealer")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEALER_FIELD_NUMBER: _ClassVar[int]
    spec: _session_pb2.SessionSpec
    engine: str
    protocol_version: int
    dealer: int
    def __init__(self, spec: _Optional[_Union[_session_pb2.SessionSpec, _Mapping]] = ..., engine: _Optional[str] = ..., protocol_version: _Optional[int] = ..., dealer: _Optional[int] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("sessions",)
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    def __init__(self, sessions: _Optional[int] = ...) -> None: ...

class FrameChunk(_message.Message):
    __slots__ = ("sequence", "tag", "frame_bytes", "payload")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    tag: str
    frame_bytes: int
    payload: bytes
    def __init__(self, sequence: _Optional[int] = ..., tag: _Optional[str] = ..., frame_bytes: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Start(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExchangeRequest(_message.Message):
    __slots__ = ("chunk", "heartbeat", "start")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    chunk: FrameChunk
    heartbeat: Heartbeat
    start: Start
    def __init__(self, chunk: _Optional[_Union[FrameChunk, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., start: _Optional[_Union[Start, _Mapping]] = ...) -> None: ...

class ExchangeResponse(_message.Message):
    __slots__ = ("chunk", "heartbeat")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    chunk: FrameChunk
    heartbeat: Heartbeat
    def __init__(self, chunk: _Optional[_Union[FrameChunk, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class WeightMask(_message.Message):
    __slots__ = ("model_name", "manifest_sha256", "weight_mask_id", "dealer")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_MASK_ID_FIELD_NUMBER: _ClassVar[int]
    DEALER_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    manifest_sha256: bytes
    weight_mask_id: bytes
    dealer: int
    def __init__(self, model_name: _Optional[str] = ..., manifest_sha256: _Optional[bytes] = ..., weight_mask_id: _Optional[bytes] = ..., dealer: _Optional[int] = ...) -> None: ...

class PrepareMaterialRequest(_message.Message):
    __slots__ = ("weights", "material_id", "plan_sha256", "kept")
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_SHA256_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    weights: WeightMask
    material_id: bytes
    plan_sha256: bytes
    kept: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, weights: _Optional[_Union[WeightMask, _Mapping]] = ..., material_id: _Optional[bytes] = ..., plan_sha256: _Optional[bytes] = ..., kept: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PrepareMaterialResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OpenWeightsRequest(_message.Message):
    __slots__ = ("weights", "chunk")
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    weights: WeightMask
    chunk: bytes
    def __init__(self, weights: _Optional[_Union[WeightMask, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class OpenWeightsResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class AbortSessionRequest(_message.Message):
    __slots__ = ("session_id", "reason")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    reason: str
    def __init__(self, session_id: _Optional[bytes] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
