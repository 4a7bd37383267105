from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseMaterialRequest(_message.Message):
    __slots__ = ("session_id", "program_sha256", "model_version", "parties")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_SHA256_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTIES_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    program_sha256: bytes
    model_version: str
    parties: int
    def __init__(self, session_id: _Optional[bytes] = ..., program_sha256: _Optional[bytes] = ..., model_version: _Optional[str] = ..., parties: _Optional[int] = ...) -> None: ...

class LeaseMaterialResponse(_message.Message):
    __slots__ = ("lease_id", "seed", "correction_bytes")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_BYTES_FIELD_NUMBER: _ClassVar[int]
    lease_id: bytes
    seed: bytes
    correction_bytes: int
    def __init__(self, lease_id: _Optional[bytes] = ..., seed: _Optional[bytes] = ..., correction_bytes: _Optional[int] = ...) -> None: ...

class StreamMaterialRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    def __init__(self, session_id: _Optional[bytes] = ...) -> None: ...

class StreamMaterialResponse(_message.Message):
    __slots__ = ("sequence", "payload")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    payload: bytes
    def __init__(self, sequence: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...
