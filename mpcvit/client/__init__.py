"""The client SDK: split a picture into shares, ask the parties, join the answer. Needs no torch."""

from mpcvit.client.async_client import AsyncClient
from mpcvit.client.base import InferOptions
from mpcvit.client.client import Client
from mpcvit.client.mock_transport import MockTransport
from mpcvit.client.result import Inference
from mpcvit.client.settings import ClientSettings
from mpcvit.client.transport import Offer, PartyTransport, Submission
from mpcvit.wire.owners import Owners
from mpcvit.wire.stats import Stats

__all__ = [
    "AsyncClient",
    "Client",
    "ClientSettings",
    "InferOptions",
    "Inference",
    "MockTransport",
    "Offer",
    "Owners",
    "PartyTransport",
    "Stats",
    "Submission",
]
