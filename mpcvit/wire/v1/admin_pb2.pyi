from mpcvit.wire.v1 import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("role", "version", "protocol_version", "uptime_s", "draining", "unmet", "clients", "models", "roles", "certificate_days", "ledger", "memory", "leases", "unix_time_s")
    class UnmetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    UNMET_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_DAYS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_S_FIELD_NUMBER: _ClassVar[int]
    role: str
    version: str
    protocol_version: int
    uptime_s: float
    draining: bool
    unmet: _containers.ScalarMap[str, str]
    clients: _containers.RepeatedCompositeFieldContainer[ClientSessions]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    roles: _containers.RepeatedCompositeFieldContainer[RoleStatus]
    certificate_days: float
    ledger: _session_pb2.LedgerMark
    memory: MemoryStatus
    leases: _containers.RepeatedCompositeFieldContainer[PartyLeases]
    unix_time_s: float
    def __init__(self, role: _Optional[str] = ..., version: _Optional[str] = ..., protocol_version: _Optional[int] = ..., uptime_s: _Optional[float] = ..., draining: bool = ..., unmet: _Optional[_Mapping[str, str]] = ..., clients: _Optional[_Iterable[_Union[ClientSessions, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., roles: _Optional[_Iterable[_Union[RoleStatus, _Mapping]]] = ..., certificate_days: _Optional[float] = ..., ledger: _Optional[_Union[_session_pb2.LedgerMark, _Mapping]] = ..., memory: _Optional[_Union[MemoryStatus, _Mapping]] = ..., leases: _Optional[_Iterable[_Union[PartyLeases, _Mapping]]] = ..., unix_time_s: _Optional[float] = ...) -> None: ...

class ClientSessions(_message.Message):
    __slots__ = ("client", "held", "waiting", "running", "ended")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    client: str
    held: int
    waiting: int
    running: int
    ended: int
    def __init__(self, client: _Optional[str] = ..., held: _Optional[int] = ..., waiting: _Optional[int] = ..., running: _Optional[int] = ..., ended: _Optional[int] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("name", "version", "manifest_sha256", "active", "pool_ready", "pool_size", "session_bytes", "budget")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    POOL_READY_FIELD_NUMBER: _ClassVar[int]
    POOL_SIZE_FIELD_NUMBER: _ClassVar[int]
    SESSION_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    manifest_sha256: bytes
    active: bool
    pool_ready: int
    pool_size: int
    session_bytes: int
    budget: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., manifest_sha256: _Optional[bytes] = ..., active: bool = ..., pool_ready: _Optional[int] = ..., pool_size: _Optional[int] = ..., session_bytes: _Optional[int] = ..., budget: _Optional[str] = ...) -> None: ...

class RoleStatus(_message.Message):
    __slots__ = ("role", "present", "silence_s", "error")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    SILENCE_S_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    role: str
    present: bool
    silence_s: float
    error: str
    def __init__(self, role: _Optional[str] = ..., present: bool = ..., silence_s: _Optional[float] = ..., error: _Optional[str] = ...) -> None: ...

class MemoryStatus(_message.Message):
    __slots__ = ("resident_bytes", "available_bytes")
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    resident_bytes: int
    available_bytes: int
    def __init__(self, resident_bytes: _Optional[int] = ..., available_bytes: _Optional[int] = ...) -> None: ...

class PartyLeases(_message.Message):
    __slots__ = ("party", "open", "most")
    PARTY_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    party: str
    open: int
    most: int
    def __init__(self, party: _Optional[str] = ..., open: _Optional[int] = ..., most: _Optional[int] = ...) -> None: ...

class ListLoadedModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLoadedModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("folder",)
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    folder: str
    def __init__(self, folder: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ...) -> None: ...

class ActivateModelRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class ActivateModelResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("sessions", "drain_s")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_S_FIELD_NUMBER: _ClassVar[int]
    sessions: int
    drain_s: float
    def __init__(self, sessions: _Optional[int] = ..., drain_s: _Optional[float] = ...) -> None: ...
