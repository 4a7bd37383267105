"""A dealer as a process."""

from __future__ import annotations

from functools import partial

from mpcvit.wire.own_identity import OwnIdentity
from mpcvit.wire.tls import caller_role
from mpcvit.wire.v1 import dealer_pb2_grpc
from parties.common.admin_service import AdminService, admin_servers
from parties.common.conditions import certificate, disk
from parties.common.listen import listen
from parties.common.metrics import Metrics
from parties.common.other_port import OtherPort
from parties.common.process_status import ProcessStatus
from parties.common.readiness import Readiness
from parties.common.server import check, make_server, serve
from parties.common.settings import DealerSettings
from parties.common.state_lock import lock_state
from parties.common.tracing import start_tracing
from parties.dealer.leases import Dealer
from parties.dealer.program_loader import ProgramLoader
from parties.dealer.reports import LeaseReports
from parties.dealer.service import DealerService
from parties.dealer.status import DealerStatus

#: Calls that a party has open: to lease and to stream; signs of life and weight masks.
_CALLS_PER_LEASE = 2
_OTHER_CALLS = 16


def serve_dealer(settings: DealerSettings) -> None:
    """Run a dealer until SIGTERM or SIGINT.

    Raises:
        MpcvitError: an address, certificate, program or folder of ``settings`` cannot be used.
    """
    check("dealer", settings.tls.files, settings.listen.all)
    with lock_state(settings.state.dir):
        _run(settings)


def _run(settings: DealerSettings) -> None:
    metrics = Metrics("dealer", settings.tls.cert)
    reports = LeaseReports(metrics, start_tracing(settings.otel, "dealer"))
    dealer = Dealer(settings, reports.ended)
    own = OwnIdentity(settings.tls.files)
    identify = partial(caller_role, pins=own.files.pins)
    server = make_server("dealer", _CALLS_PER_LEASE * settings.limits.leases + _OTHER_CALLS, identify, dealer.audit)
    dealer_pb2_grpc.add_DealerServiceServicer_to_server(DealerService(dealer, metrics), server)
    server.add_generic_rpc_handlers([OtherPort("dealer", "DealerService")])
    listen(server, settings.listen.party, own)
    readiness = Readiness("dealer", {"disk": disk(settings.state.dir), "certificate": certificate(settings.tls.cert)})
    status = DealerStatus(dealer, ProcessStatus("dealer", settings.tls.cert, dealer.mark, readiness))
    admins = admin_servers(
        AdminService("dealer", status.report, status.drain, ProgramLoader(settings.load_from, dealer), own.files.pins),
        settings.listen.admin,
        own,
        dealer.audit,
    )

    def stop() -> None:
        dealer.close()
        reports.close()

    serve([server, *admins], settings.listen, readiness, metrics, stop, own.look_again)
