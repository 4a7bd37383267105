"""Time stock CrypTen 0.4.1 on a ViT: two parties, and with TTP a third process that deals.

    PYTHON bench_crypten.py --protocol TTP --model vit_7_4_32 --attention softmax --activation gelu --network wan

PYTHON is that of CrypTen's own environment, see README.md. CrypTen is as installed, with default settings; only what
keeps it from being imported on a current torch is put aside. GELU is x * sigmoid(1.702 x), as CrypTen's erf takes wrong
powers and is of no use outside a small range.
"""

from __future__ import annotations

import argparse
import logging
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import Measured, Run, main, parser, pin, report, run_parties, scratch, timed
from models import MODELS, RELU_SOFTMAX_EPSILON, Array, forward, make_input, make_parameters

COMPUTING = 2
OWNER_OF_MODEL, OWNER_OF_PICTURE = 0, 1
INSECURE = {"TTP": None, "TFP": "party 0 makes the triples, so it can unmask everything"}


class CrypTenOps:
    """Operations on CrypTen's tensors."""

    def __init__(self) -> None:
        import crypten

        self._crypten = crypten

    def concat(self, tensors: list[Any]) -> Any:
        """Along the first axis."""
        return self._crypten.cat(tensors, dim=0)

    def permute(self, x: Any, axes: tuple[int, ...]) -> Any:
        """Axes in a new order."""
        return x.permute(*axes)

    def square(self, x: Any) -> Any:
        """With CrypTen's square pairs, which cost less than a product."""
        return x.square()

    def mean(self, x: Any, axis: int) -> Any:
        """Keep the axis."""
        return x.mean(axis, keepdim=True)

    def inverse_sqrt(self, x: Any) -> Any:
        """Three steps of Newton's method."""
        return x.inv_sqrt()

    def relu(self, x: Any) -> Any:
        """By a comparison."""
        return x.relu()

    def gelu(self, x: Any) -> Any:
        """Return the sigmoid approximation."""
        return x * (x * 1.702).sigmoid()

    def softmax(self, x: Any) -> Any:
        """Over the last axis, with the largest score subtracted."""
        return x.softmax(-1)

    def relu_softmax(self, x: Any) -> Any:
        """Over the last axis, divided by means, not sums: CrypTen's reciprocal is wrong for arguments above 200."""
        scale = 1 / x.size(-1)
        e = x.relu() * scale
        with self._crypten.config.cfg.temp_override({"functions.reciprocal_all_pos": True}):
            return e * (e.sum(-1, keepdim=True) + RELU_SOFTMAX_EPSILON * scale).reciprocal()


def drive(options: argparse.Namespace) -> None:
    """Run the parties and print the result."""
    processes = COMPUTING + (options.protocol == "TTP")
    with scratch(options) as folder:
        meeting_point = folder / "rendezvous"
        meeting_point.unlink(missing_ok=True)

        def environment(party: int, host: Any) -> dict[str, str]:
            return {
                "WORLD_SIZE": str(COMPUTING),
                "RANK": str(party),
                "RENDEZVOUS": f"file://{meeting_point}",
                "DISTRIBUTED_BACKEND": "gloo",
                "GLOO_SOCKET_IFNAME": host.interface,
            }

        run_parties(options, folder, processes, environment)
        parties = [Measured.load(folder, party) for party in range(COMPUTING)]
        output = np.load(folder / "output.npy")
    report(
        options,
        "crypten",
        parties,
        output,
        gelu="sigmoid",
        caveat=INSECURE[options.protocol],
        packages=("crypten", "torch", "numpy"),
    )


def import_crypten() -> Any:
    """CrypTen, with the module that its ONNX converter looks for; nothing here converts ONNX."""
    name = "torch.onnx.symbolic_registry"
    sys.modules.setdefault(name, types.ModuleType(name))
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    import crypten

    return crypten


def party(options: argparse.Namespace) -> None:
    """Be a computing party, or the dealer."""
    import torch

    torch.set_num_threads(1)
    pin(options.party)
    crypten = import_crypten()
    crypten.config.cfg.mpc.provider = options.protocol
    crypten.config.cfg.communicator.verbose = True  # counts rounds and bytes
    if options.party == COMPUTING:
        from crypten.mpc.provider import TTPServer

        TTPServer()
        return
    crypten.init()
    model = MODELS[options.model]

    def secret(value: Array, owner: int) -> Any:
        known = options.party == owner
        return crypten.cryptensor(torch.from_numpy(value) if known else torch.zeros(value.shape), src=owner)

    parameters = {name: secret(value, OWNER_OF_MODEL) for name, value in make_parameters(model).items()}
    operations, measured = CrypTenOps(), Measured()
    for _ in range(options.warmup + options.runs):
        picture = secret(make_input(model), OWNER_OF_PICTURE)
        crypten.comm.get().barrier()
        crypten.reset_communication_stats()
        run = Run(0, 0, 0)
        with timed(run):
            logits = forward(model, options.attention, options.activation, parameters, picture, operations)
        counted = crypten.comm.get().get_communication_stats()
        # each of the two parties counts what both send
        run.rounds, run.bytes_sent = counted["rounds"], counted["bytes"] / COMPUTING
        measured.runs.append(run)
        output = logits.get_plain_text()
    measured.save(options.folder, options.party)
    if options.party == 0:
        np.save(Path(options.folder) / "output.npy", output.double().numpy())
    crypten.comm.get().barrier()
    crypten.uninit()


if __name__ == "__main__":
    main(parser(__doc__, list(INSECURE)).parse_args(), drive, party)
