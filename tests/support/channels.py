"""Channels that take their files as they are: also those of a caller that is up to something."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from mpcvit.wire.own_certificate import SUFFIX
from mpcvit.wire.tls import OPTIONS, TlsFiles


def secure_channel(
    address: str, files: TlsFiles, role: str, options: Sequence[tuple[str, int]] = OPTIONS
) -> grpc.Channel:
    """Return a channel to ``address`` on which only a certificate of ``role`` is accepted."""
    ca, key, cert = files.read()
    credentials = grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
    override = [("grpc.ssl_target_name_override", role + SUFFIX)]
    return grpc.secure_channel(address, credentials, options=[*options, *override])
