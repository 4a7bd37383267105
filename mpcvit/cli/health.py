"""``mpcvit health``: ask a party or dealer whether it serves, for container health checks."""

from __future__ import annotations

from typing import Annotated

import typer

from mpcvit.cli.output import Json, command, print_json, progress_console


@command
def health(
    address: Annotated[str, typer.Argument(help="The health listener, host:port.")],
    json_output: Json = False,
) -> None:
    """Exit with 0 if the process at the health address serves, with 1 otherwise."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
            status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as error:
            status = error.code().name
    if json_output:
        print_json({"address": address, "status": status})
    else:
        progress_console.print(f"{address}: {status}")
    if status != "SERVING":
        raise typer.Exit(1)
