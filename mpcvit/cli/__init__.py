"""The command line."""

import os

# gRPC's core writes lines of its own to standard error, e.g. for every handshake that fails; it reads this once.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
