"""The client SDK: split a picture into shares, ask the parties, join the answer. Needs no torch."""

from mpcvit.client.client import Client
from mpcvit.client.mock_transport import MockTransport
from mpcvit.client.result import Inference, Stats
from mpcvit.client.settings import ClientSettings
from mpcvit.client.transport import PartyTransport, Submission

__all__ = ["Client", "ClientSettings", "Inference", "MockTransport", "PartyTransport", "Stats", "Submission"]
