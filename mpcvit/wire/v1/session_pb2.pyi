from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SessionSpec(_message.Message):
    __slots__ = ("session_id", "model_name", "model_version", "manifest_sha256", "program_sha256", "input_shape", "protocol_version", "expires_at", "budget")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    model_name: str
    model_version: str
    manifest_sha256: bytes
    program_sha256: bytes
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    protocol_version: int
    expires_at: int
    budget: str
    def __init__(self, session_id: _Optional[bytes] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., manifest_sha256: _Optional[bytes] = ..., program_sha256: _Optional[bytes] = ..., input_shape: _Optional[_Iterable[int]] = ..., protocol_version: _Optional[int] = ..., expires_at: _Optional[int] = ..., budget: _Optional[str] = ...) -> None: ...

class LedgerMark(_message.Message):
    __slots__ = ("ledger_id", "epoch", "start_id")
    LEDGER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    START_ID_FIELD_NUMBER: _ClassVar[int]
    ledger_id: bytes
    epoch: int
    start_id: bytes
    def __init__(self, ledger_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., start_id: _Optional[bytes] = ...) -> None: ...

class AuditHead(_message.Message):
    __slots__ = ("log_id", "line", "sha256")
    LOG_ID_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    log_id: bytes
    line: int
    sha256: bytes
    def __init__(self, log_id: _Optional[bytes] = ..., line: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...
