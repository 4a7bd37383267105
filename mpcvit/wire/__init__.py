"""What travels: generated messages, and the only code that turns tensors and errors into them. No torch."""

#: Version of the protocol between client, parties and dealer. 3: one order of sessions, signs of life, ledger marks.
PROTOCOL_VERSION = 3
#: Clients may be as old; parties and dealer speak one version.
OLDEST_CLIENT_VERSION = 2
SESSION_ID_BYTES = 16
SESSION_METADATA = "mpcvit-session-bin"
#: The service of ``grpc.health.v1`` that serves while a process is ready; the empty name means that it lives.
READY_SERVICE = "ready"
#: Trailing metadata of a health check: once for every condition that is not met, ``name: why``.
UNMET_METADATA = "mpcvit-unmet"
