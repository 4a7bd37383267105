from mpcvit.wire.v1 import session_pb2 as _session_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckDealerRequest(_message.Message):
    __slots__ = ("protocol_version",)
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    def __init__(self, protocol_version: _Optional[int] = ...) -> None: ...

class CheckDealerResponse(_message.Message):
    __slots__ = ("protocol_version", "ledger", "unix_time_s", "audit")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_S_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    ledger: _session_pb2.LedgerMark
    unix_time_s: float
    audit: _session_pb2.AuditHead
    def __init__(self, protocol_version: _Optional[int] = ..., ledger: _Optional[_Union[_session_pb2.LedgerMark, _Mapping]] = ..., unix_time_s: _Optional[float] = ..., audit: _Optional[_Union[_session_pb2.AuditHead, _Mapping]] = ...) -> None: ...

class LeaseMaterialRequest(_message.Message):
    __slots__ = ("material_id", "program_sha256", "model_version", "parties", "engine", "objective", "weight_mask_id", "ledger")
    MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_SHA256_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTIES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_MASK_ID_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    material_id: bytes
    program_sha256: bytes
    model_version: str
    parties: int
    engine: str
    objective: str
    weight_mask_id: bytes
    ledger: _session_pb2.LedgerMark
    def __init__(self, material_id: _Optional[bytes] = ..., program_sha256: _Optional[bytes] = ..., model_version: _Optional[str] = ..., parties: _Optional[int] = ..., engine: _Optional[str] = ..., objective: _Optional[str] = ..., weight_mask_id: _Optional[bytes] = ..., ledger: _Optional[_Union[_session_pb2.LedgerMark, _Mapping]] = ...) -> None: ...

class LeaseMaterialResponse(_message.Message):
    __slots__ = ("lease_id", "seed", "material_bytes", "plan_sha256")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MATERIAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PLAN_SHA256_FIELD_NUMBER: _ClassVar[int]
    lease_id: bytes
    seed: bytes
    material_bytes: int
    plan_sha256: bytes
    def __init__(self, lease_id: _Optional[bytes] = ..., seed: _Optional[bytes] = ..., material_bytes: _Optional[int] = ..., plan_sha256: _Optional[bytes] = ...) -> None: ...

class StreamMaterialRequest(_message.Message):
    __slots__ = ("material_id",)
    MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    material_id: bytes
    def __init__(self, material_id: _Optional[bytes] = ...) -> None: ...

class StreamMaterialResponse(_message.Message):
    __slots__ = ("sequence", "payload")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    payload: bytes
    def __init__(self, sequence: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ReleaseMaterialRequest(_message.Message):
    __slots__ = ("material_id",)
    MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    material_id: bytes
    def __init__(self, material_id: _Optional[bytes] = ...) -> None: ...

class ReleaseMaterialResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaseWeightMaskRequest(_message.Message):
    __slots__ = ("weight_mask_id", "program_sha256", "manifest_sha256")
    WEIGHT_MASK_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_SHA256_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    weight_mask_id: bytes
    program_sha256: bytes
    manifest_sha256: bytes
    def __init__(self, weight_mask_id: _Optional[bytes] = ..., program_sha256: _Optional[bytes] = ..., manifest_sha256: _Optional[bytes] = ...) -> None: ...

class LeaseWeightMaskResponse(_message.Message):
    __slots__ = ("seed",)
    SEED_FIELD_NUMBER: _ClassVar[int]
    seed: bytes
    def __init__(self, seed: _Optional[bytes] = ...) -> None: ...
