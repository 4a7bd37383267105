"""A compute party as a process: its two services, for clients and for peers."""

from __future__ import annotations

from mpcvit.wire.v1 import inference_pb2_grpc, peer_pb2_grpc
from parties.common.admin_service import AdminService, admin_servers
from parties.common.listen import listen
from parties.common.other_port import OtherPort
from parties.common.process_status import ProcessStatus
from parties.common.readiness import Readiness
from parties.common.server import check, make_server, serve
from parties.common.settings import PartySettings
from parties.common.state_lock import lock_state
from parties.party.client_service import InferenceService
from parties.party.conditions import conditions
from parties.party.open_inference.service import OpenInferenceService
from parties.party.open_inference.stubs import grpc_service_pb2_grpc
from parties.party.party import ComputeParty
from parties.party.peer_service import PeerService
from parties.party.rollout import Rollout
from parties.party.status import PartyStatus

#: Calls that a peer has open: to pair and to exchange for every session; signs of life, material and weights.
_CALLS_PER_SESSION = 2
_OTHER_CALLS = 16


def serve_party(settings: PartySettings) -> None:
    """Run a compute party until SIGTERM or SIGINT; then drain.

    Raises:
        MpcvitError: an address, certificate, model or folder of ``settings`` cannot be used.
    """
    own = settings.listen
    check(f"party{settings.index}", settings.tls.files, own.all)
    with lock_state(settings.state.dir):
        _run(settings)


def _run(settings: PartySettings) -> None:
    role, own = f"party{settings.index}", settings.listen
    party = ComputeParty(settings)
    readiness = Readiness(role, conditions(party))
    clients = make_server(role, settings.limits.calls_of_client, party.callers.anybody, party.audit)
    peers = make_server(
        role, _CALLS_PER_SESSION * party.admission.most_held + _OTHER_CALLS, party.callers.anybody, party.audit
    )
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceService(party), clients)
    grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        OpenInferenceService(party, lambda: readiness.ready), clients
    )
    peer_pb2_grpc.add_PeerServiceServicer_to_server(PeerService(party), peers)
    clients.add_generic_rpc_handlers([OtherPort(role, "InferenceService")])
    peers.add_generic_rpc_handlers([OtherPort(role, "PeerService")])
    listen(clients, own.client, party.own)
    if own.token is not None:
        listen(clients, own.token, party.own, ask_callers=False)
    listen(peers, own.peer, party.own)
    status = PartyStatus(party, ProcessStatus(role, settings.tls.cert, party.ledger.mark, readiness))
    admins = admin_servers(
        AdminService(role, status.report, status.drain, Rollout(party), party.own.files.pins),
        own.admin,
        party.own,
        party.audit,
    )
    serve([clients, peers, *admins], own, readiness, party.metrics, party.drain, party.look_again)
