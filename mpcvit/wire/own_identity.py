"""Who a running process is: its TLS files, read again when they change."""

from __future__ import annotations

import time
from collections.abc import Callable

from mpcvit.watched import Watched
from mpcvit.wire.tls import Pem, TlsFiles


class OwnIdentity(Watched[Pem]):
    """The content of one role's TLS files. New files are taken if they belong together and are the same role's.

    Args:
        files: where they are, and how often to look.

    Raises:
        ConfigError, NotAuthenticated: as for :meth:`TlsFiles.read`.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        self.files = files
        role = files.role()

        def read() -> Pem:
            if role is not None:
                files.require_role(role)
            return files.read()

        paths = [path for path in (files.ca, files.cert, files.key) if path is not None]
        super().__init__(paths, read, files.reload_s, clock)
