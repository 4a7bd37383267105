"""Time SecretFlow's SPU on a ViT: each party a process with its own link.

    PYTHON bench_spu.py --protocol SEMI2K --model vit_7_4_32 --attention softmax --activation gelu --network wan

PYTHON is that of SPU's own environment, see README.md. Runtime settings are SPU's defaults for a ring of 64 bits, with
the compiler option that shares one reciprocal per row in a softmax, which makes it faster. GELU is JAX's default, the
tanh approximation.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from common import Measured, Run, main, parser, pin, report, run_parties, scratch, timed
from models import MODELS, RELU_SOFTMAX_EPSILON, Array, forward, make_input, make_parameters

INSECURE = {
    "SEMI2K": "its only triple provider in the published package is party 0, who can unmask everything",
    "ABY3": None,
    "CHEETAH": None,
}
PARTIES = {"SEMI2K": 2, "ABY3": 3, "CHEETAH": 2}
_MARK = "=== inference"
_TOTALS = re.compile(r"total send bytes (\d+), recv bytes \d+, send actions (\d+)")
_PATIENCE_MS = 20 * 60 * 1000


class JaxOps:
    """Operations that SPU compiles."""

    @staticmethod
    def concat(tensors: list[Any]) -> Any:
        """Along the first axis."""
        import jax.numpy as jnp

        return jnp.concatenate(tensors)

    @staticmethod
    def permute(x: Any, axes: tuple[int, ...]) -> Any:
        """Axes in a new order."""
        return x.transpose(axes)

    @staticmethod
    def square(x: Any) -> Any:
        """As a product."""
        return x * x

    @staticmethod
    def mean(x: Any, axis: int) -> Any:
        """Keep the axis."""
        return x.mean(axis, keepdims=True)

    @staticmethod
    def inverse_sqrt(x: Any) -> Any:
        """One operation for SPU."""
        import jax

        return jax.lax.rsqrt(x)

    @staticmethod
    def relu(x: Any) -> Any:
        """By a comparison."""
        import jax.numpy as jnp

        return jnp.maximum(x, 0)

    @staticmethod
    def gelu(x: Any) -> Any:
        """Return the tanh approximation."""
        import jax

        return jax.nn.gelu(x, approximate=True)

    @staticmethod
    def softmax(x: Any) -> Any:
        """Over the last axis, with the largest score subtracted; jax.nn's compares with minus infinity besides."""
        import jax.numpy as jnp

        e = jnp.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    @staticmethod
    def relu_softmax(x: Any) -> Any:
        """Over the last axis."""
        import jax.numpy as jnp

        e = jnp.maximum(x, 0)
        return e / (e.sum(-1, keepdims=True) + RELU_SOFTMAX_EPSILON)


def settings(protocol: str) -> Any:
    """SPU's defaults, with counting on."""
    import spu

    config = spu.RuntimeConfig(protocol=spu.parse_protocol_kind(protocol), field=spu.parse_field_type("FM64"))
    config.enable_pphlo_profile = True  # logs bytes and messages of each inference
    return config


def drive(options: argparse.Namespace) -> None:
    """Compile, share, run the parties and print the result."""
    import spu

    parties = PARTIES[options.protocol]
    io = spu.Io(parties, settings(options.protocol))
    with scratch(options) as folder:
        _prepare(options, folder, io)
        run_parties(options, folder, parties, port=_free_ports(parties))
        measured = [Measured.load(folder, party) for party in range(parties)]
        for party in range(parties):
            _count(measured[party], (folder / f"party{party}.log").read_text(errors="replace"))
        shares = [_load_shares(folder / f"output{party}.npz") for party in range(parties)]
        (name,) = shares[0]
        output = np.asarray(io.reconstruct([share[name] for share in shares]), np.float64)
    report(
        options,
        "spu",
        measured,
        output,
        gelu="tanh",
        caveat=INSECURE[options.protocol],
        packages=("spu", "jax", "numpy"),
    )


def _prepare(options: argparse.Namespace, folder: Path, io: Any) -> None:
    """Write the compiled model and each party's shares of weights and picture."""
    import jax
    from spu import libspu
    from spu.utils import frontend

    model = MODELS[options.model]
    arguments = (make_parameters(model), make_input(model))

    def infer(parameters: Any, picture: Any) -> Any:
        return forward(model, options.attention, options.activation, parameters, picture, JaxOps)

    values, _ = jax.tree_util.tree_flatten((arguments, {}))
    names = [f"in{index}" for index in range(len(values))]
    secret = libspu.Visibility.VIS_SECRET
    compiler = libspu.CompilerOptions()
    compiler.enable_optimize_denominator_with_broadcast = True
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        infer,
        arguments,
        {},
        names,
        [secret] * len(names),
        lambda outputs: [f"out{index}" for index in range(len(outputs))],
        copts=compiler,
    )
    (folder / "code").write_bytes(executable.code)
    (folder / "names.json").write_text(json.dumps({"inputs": names, "outputs": list(executable.output_names)}))
    shares: list[dict[str, Any]] = [{} for _ in range(PARTIES[options.protocol])]
    for name, value in zip(names, values, strict=True):
        for party, share in enumerate(io.make_shares(np.asarray(value), secret)):
            shares[party][name] = share
    for party, part in enumerate(shares):
        _save_shares(folder / f"input{party}.npz", part)


def _save_shares(file: Path, shares: dict[str, Any]) -> None:
    arrays: dict[str, Array] = {}
    for name, share in shares.items():
        for index, chunk in enumerate([share.meta, *share.share_chunks]):
            arrays[f"{name}/{index}"] = np.frombuffer(chunk, np.uint8)
    np.savez(file, **arrays)


def _load_shares(file: Path) -> dict[str, Any]:
    from spu import libspu

    chunks: dict[str, list[bytes]] = {}
    with np.load(file) as arrays:
        for key in arrays:  # in the order of writing
            chunks.setdefault(key.partition("/")[0], []).append(arrays[key].tobytes())
    shares = {}
    for name, (meta, *rest) in chunks.items():
        shares[name] = libspu.Share()
        shares[name].meta, shares[name].share_chunks = meta, rest
    return shares


def _free_ports(count: int) -> int:
    """Return the first of ``count`` ports in a row that were free a moment ago."""
    while True:
        holders = [socket.socket() for _ in range(count)]
        try:
            holders[0].bind(("127.0.0.1", 0))
            first = int(holders[0].getsockname()[1])
            for index, holder in enumerate(holders[1:], 1):
                holder.bind(("127.0.0.1", first + index))
            return first
        except (OSError, OverflowError):
            continue
        finally:
            for holder in holders:
                holder.close()


def _count(measured: Measured, log: str) -> None:
    """Fill in bytes and rounds from what SPU logged."""
    for run, text in zip(measured.runs, log.split(_MARK)[1:], strict=True):
        totals = _TOTALS.search(text)
        if totals is None:
            raise SystemExit("no totals in the log of an SPU party; another version of SPU?")
        run.bytes_sent, run.rounds = int(totals[1]), int(totals[2])


def party(options: argparse.Namespace) -> None:
    """Be one party."""
    import spu
    from spu import libspu

    pin(options.party)
    folder: Path = options.folder
    names = json.loads((folder / "names.json").read_text())
    executable = libspu.Executable(
        name="vit", input_names=names["inputs"], output_names=names["outputs"], code=(folder / "code").read_bytes()
    )
    link = libspu.link.create_brpc(_link_settings(options.addresses), options.party)
    runtime = spu.Runtime(link, settings(options.protocol))
    for name, share in _load_shares(folder / f"input{options.party}.npz").items():
        runtime.set_var(name, share)
    measured = Measured()
    for _ in range(options.warmup + options.runs):
        link.barrier()
        sys.stderr.write(f"{_MARK}\n")
        sys.stderr.flush()
        run = Run(0, 0, 0)
        with timed(run):
            runtime.run(executable)
        link.barrier()
        measured.runs.append(run)
    measured.save(folder, options.party)
    _save_shares(folder / f"output{options.party}.npz", {name: runtime.get_var(name) for name in names["outputs"]})
    link.barrier()
    link.stop_link()


def _link_settings(addresses: list[str]) -> Any:
    from spu import libspu

    link = libspu.link.Desc()
    for index, address in enumerate(addresses):
        link.add_party(f"party{index}", address)
    link.recv_timeout_ms = link.http_timeout_ms = _PATIENCE_MS
    link.connect_retry_times, link.connect_retry_interval_ms = 100, 100
    link.throttle_window_size = 0  # never wait for acknowledgements: the faster setting
    return link


if __name__ == "__main__":
    main(parser(__doc__, list(INSECURE)).parse_args(), drive, party)
