from mpcvit.wire.v1 import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListModelsRequest(_message.Message):
    __slots__ = ("protocol_version",)
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    def __init__(self, protocol_version: _Optional[int] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("manifests", "signatures")
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    manifests: _containers.RepeatedScalarFieldContainer[bytes]
    signatures: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, manifests: _Optional[_Iterable[bytes]] = ..., signatures: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SubmitShareRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: ShareHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[ShareHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ShareHeader(_message.Message):
    __slots__ = ("spec", "seed", "masked_bytes")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MASKED_BYTES_FIELD_NUMBER: _ClassVar[int]
    spec: _session_pb2.SessionSpec
    seed: bytes
    masked_bytes: int
    def __init__(self, spec: _Optional[_Union[_session_pb2.SessionSpec, _Mapping]] = ..., seed: _Optional[bytes] = ..., masked_bytes: _Optional[int] = ...) -> None: ...

class SubmitShareResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FetchResultRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    def __init__(self, session_id: _Optional[bytes] = ...) -> None: ...

class FetchResultResponse(_message.Message):
    __slots__ = ("progress", "header", "chunk")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    header: ResultHeader
    chunk: bytes
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., header: _Optional[_Union[ResultHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "done", "total")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    phase: str
    done: int
    total: int
    def __init__(self, phase: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class ResultHeader(_message.Message):
    __slots__ = ("result_bytes", "stats", "guard_digest")
    RESULT_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    GUARD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    result_bytes: int
    stats: SessionStats
    guard_digest: bytes
    def __init__(self, result_bytes: _Optional[int] = ..., stats: _Optional[_Union[SessionStats, _Mapping]] = ..., guard_digest: _Optional[bytes] = ...) -> None: ...

class SessionStats(_message.Message):
    __slots__ = ("offline_s", "online_s", "peer_wait_s", "material_wait_s", "rounds", "bytes_sent", "material_bytes")
    OFFLINE_S_FIELD_NUMBER: _ClassVar[int]
    ONLINE_S_FIELD_NUMBER: _ClassVar[int]
    PEER_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    MATERIAL_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    MATERIAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    offline_s: float
    online_s: float
    peer_wait_s: float
    material_wait_s: float
    rounds: int
    bytes_sent: int
    material_bytes: int
    def __init__(self, offline_s: _Optional[float] = ..., online_s: _Optional[float] = ..., peer_wait_s: _Optional[float] = ..., material_wait_s: _Optional[float] = ..., rounds: _Optional[int] = ..., bytes_sent: _Optional[int] = ..., material_bytes: _Optional[int] = ...) -> None: ...

class CancelSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    def __init__(self, session_id: _Optional[bytes] = ...) -> None: ...

class CancelSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
