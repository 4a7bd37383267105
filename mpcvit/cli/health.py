"""``mpcvit health``: ask a party or dealer whether it lives and is ready, for people and container health checks."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from mpcvit.cli.output import Json, command, print_json, progress_console


@command
def health(
    address: Annotated[str, typer.Argument(help="The health listener, host:port.")],
    live: Annotated[bool, typer.Option("--live", help="Exit with 0 if the process lives, ready or not.")] = False,
    json_output: Json = False,
) -> None:
    """Exit with 0 if the process at the health address is ready for work, with 1 otherwise, and say why not."""
    import grpc

    from mpcvit.wire import READY_SERVICE
    from mpcvit.wire.tls import OPTIONS

    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        try:
            alive, _ = _check(channel, "")
            ready, unmet = _check(channel, READY_SERVICE)
            status = "SERVING" if alive else "NOT_SERVING"
        except grpc.RpcError as error:
            alive, ready, unmet, status = False, False, {}, error.code().name
    if json_output:
        print_json({"address": address, "status": status, "ready": ready, "unmet": unmet})
    else:
        what = "ready" if ready else "lives, but is not ready" if alive else status
        progress_console.print(f"{escape(address)}: {what}", highlight=False)
        for name, why in unmet.items():
            progress_console.print(f"  {escape(name)}: {escape(why)}", highlight=False)
    if not (alive if live else ready):
        raise typer.Exit(1)


def _check(channel: object, service: str) -> tuple[bool, dict[str, str]]:
    """Return whether ``service`` serves, and by the names of conditions that are not met why not."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from mpcvit.wire import UNMET_METADATA

    request = health_pb2.HealthCheckRequest(service=service)
    answer, call = health_pb2_grpc.HealthStub(channel).Check.with_call(request, timeout=3)
    said = [value for key, value in call.trailing_metadata() or () if key == UNMET_METADATA]
    return answer.status == health_pb2.HealthCheckResponse.SERVING, dict(line.split(": ", 1) for line in said)
