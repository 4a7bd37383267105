"""CrypTen, session-scoped: the only module that imports crypten.

CrypTen is written for one party per process: communicator, generators and provider are process-wide singletons. Each is
looked up at call time, so this module replaces the three lookups with ones that answer for the session of the current
thread. It also

* rebinds the two mask functions, which the primitives import by name, to AES streams: CrypTen's own generator keeps 32
  bits of its seed, so its masks fall to a search of 2**32;
* freezes CrypTen's configuration (a typo there would otherwise be silently ignored) and switches autograd off, once;
* hides shares from ``repr``, which CrypTen prints.

All of this leans on CrypTen's inside, hence the exact version check.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from mpcvit.compat import prepare_crypten
from mpcvit.engines.crypten.correlations import Product
from mpcvit.engines.crypten.provider import Provider
from mpcvit.errors import ConfigError, InternalError
from mpcvit.ring.fixed_point import Codes
from mpcvit.ring.prg import Stream
from mpcvit.transport.link import Link, Payload

prepare_crypten()

import crypten  # noqa: E402
import crypten.communicator  # noqa: E402
import crypten.mpc  # noqa: E402
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor, arithmetic, beaver, binary  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from torch.distributed import ReduceOp  # noqa: E402

__all__ = ["ArithmeticSharedTensor", "BinarySharedTensor", "activate", "beaver", "deactivate"]

CRYPTEN_VERSION = "0.4.1"
_CPU = torch.device("cpu")
_current = threading.local()


class ActiveSession(Protocol):
    """What CrypTen needs of the session it works for; see :class:`mpcvit.engines.crypten.session.Session`."""

    link: Link
    provider: Provider
    tag: str
    streams: dict[str, Stream]

    @property
    def index(self) -> int:
        """This party's number."""

    @property
    def parties(self) -> int:
        """How many parties compute."""


def activate(session: ActiveSession) -> None:
    """Make ``session`` the one that CrypTen calls in this thread work for.

    Raises:
        InternalError: another session is active in this thread.
    """
    if getattr(_current, "session", None) is not None:
        raise InternalError(
            "a second session in one thread", expected="one session per thread", remedy="Leave the first one."
        )
    _current.session = session


def deactivate() -> None:
    """End the current thread's session."""
    _current.session = None


def _session() -> ActiveSession:
    session: ActiveSession | None = getattr(_current, "session", None)
    if session is None:
        raise InternalError(
            "a CrypTen call outside a session", expected="an active session", remedy="Use 'with Session(...)'."
        )
    return session


class _Communicator:
    """The part of CrypTen's communicator that its primitives use, over the session's link."""

    def get_rank(self) -> int:
        return _session().index

    def get_world_size(self) -> int:
        return _session().parties

    def all_reduce(self, tensor: Any, op: Any = ReduceOp.SUM, batched: bool = False) -> Any:
        """Open one tensor, or a list of tensors in one message: everybody's sum or XOR."""
        session = _session()
        tensors = list(tensor) if batched else [tensor]
        words = np.concatenate([t.numpy().reshape(-1) for t in tensors])
        combine = np.bitwise_xor if op == ReduceOp.BXOR else np.add
        total = np.zeros_like(words)
        for payload in session.link.exchange(session.tag, _payload(words)):
            combine(total, np.frombuffer(payload, dtype="<i8"), out=total)
        opened, position = [], 0
        for t in tensors:
            opened.append(torch.from_numpy(total[position : position + t.numel()]).reshape(t.shape))
            position += t.numel()
        return opened if batched else opened[0]

    def gather(self, tensor: torch.Tensor, dst: int) -> list[torch.Tensor]:
        """Return everybody's tensor at party ``dst``, an empty list elsewhere."""
        session = _session()
        words = np.ascontiguousarray(tensor.numpy())
        return [
            torch.from_numpy(np.frombuffer(payload, dtype="<i8").reshape(tensor.shape).copy())
            for payload in session.link.gather(session.tag, _payload(words), dst)
        ]


def _payload(words: Codes) -> Payload:
    return words.reshape(-1).data.cast("B")


class _Provider:
    """CrypTen's ``TupleProvider`` interface over the session's provider."""

    def generate_additive_triple(
        self, size0: Sequence[int], size1: Sequence[int], op: str, device: torch.device | None = None
    ) -> tuple[Any, ...]:
        return tuple(map(_additive, _session().provider.product(Product(op), size0, size1)))

    def square(self, size: Sequence[int], device: torch.device | None = None) -> tuple[Any, ...]:
        return tuple(map(_additive, _session().provider.square(size)))

    def generate_binary_triple(
        self, size0: Sequence[int], size1: Sequence[int], device: torch.device | None = None
    ) -> tuple[Any, ...]:
        return tuple(map(_xor, _session().provider.conjunction(torch.broadcast_shapes(size0, size1))))

    def wrap_rng(self, size: Sequence[int], device: torch.device | None = None) -> tuple[Any, ...]:
        return tuple(map(_additive, _session().provider.wrap(size)))

    def B2A_rng(self, size: Sequence[int], device: torch.device | None = None) -> tuple[Any, ...]:  # noqa: N802
        bits, number = _session().provider.bit(size)
        return _additive(number), _xor(bits)


def _additive(share: torch.Tensor) -> Any:
    return ArithmeticSharedTensor.from_shares(share, precision=0)


def _xor(share: torch.Tensor) -> Any:
    return BinarySharedTensor.from_shares(share, precision=0)


class _Generators:
    """CrypTen's ``generators[name][device]``, answered by the session's AES streams."""

    def __getitem__(self, name: str) -> dict[torch.device, Stream]:
        return {_CPU: _session().streams[name]}


def _ring_element(size: Sequence[int], generator: Stream, device: torch.device | None = None) -> torch.Tensor:
    """Return uniform ring elements from ``generator``; stands in for two functions of ``crypten.common.rng``."""
    return torch.from_numpy(generator.ring(size))


def _hidden(self: Any) -> str:
    return f"{type(self).__name__}(shape={tuple(self.share.shape)}, share=<hidden>)"


def _install() -> None:
    if crypten.__version__ != CRYPTEN_VERSION:
        raise ConfigError(
            f"crypten {crypten.__version__}",
            expected=f"crypten {CRYPTEN_VERSION}",
            remedy=f"pip install crypten=={CRYPTEN_VERSION}",
        )
    communicator, provider = _Communicator(), _Provider()
    crypten.communicator.get = lambda: communicator
    crypten.generators = _Generators()
    crypten.mpc.get_default_provider = lambda: provider
    arithmetic.generate_random_ring_element = _ring_element
    binary.generate_kbit_random_tensor = _ring_element
    ArithmeticSharedTensor.__repr__ = _hidden
    BinarySharedTensor.__repr__ = _hidden
    crypten.set_grad_enabled(False)
    OmegaConf.set_struct(crypten.cfg.config, True)


_install()
