"""Work-arounds without which the pinned versions of torchvision and crypten do not import.

``tests/unit/test_compat.py`` imports both *without* these and fails as soon as one is no longer needed: then delete it.
"""

from __future__ import annotations

import sys
import types

_UNREGISTERED = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def prepare_torchvision() -> None:
    """Make ``import torchvision`` (and so timm) work beside a CPU build of torch.

    PyPI's torchvision ships a CUDA extension that a CPU torch cannot load; its Python side then dies on
    "operator torchvision::nms does not exist". Declaring the operators (unused by us) is enough. With a matching
    torchvision this does nothing.
    """
    import torch

    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _UNREGISTERED:
            library.define(operator + _SCHEMA)
        import torchvision

        torchvision._mpcvit_operators = library  # the declarations live as long as this object


def prepare_crypten() -> None:
    """Make ``import crypten`` 0.4.1 work on current torch.

    Its ONNX converter imports ``torch.onnx._internal.registration``, which is gone, unless
    ``torch.onnx.symbolic_registry`` (older still) exists. We never convert ONNX, so an empty module serves.
    """
    name = "torch.onnx.symbolic_registry"
    sys.modules.setdefault(name, types.ModuleType(name))


def muon_in_float32() -> None:
    """Make timm's Muon orthogonalise in float32.

    It computes in bfloat16, which CPUs without native support emulate: 0.9 s per step of the shipped recipe, twice the
    rest of the step together. On a GPU the default stays.
    """
    import functools

    import torch
    from timm.optim import muon

    if not isinstance(muon.zeropower_via_newtonschulz, functools.partial):
        muon.zeropower_via_newtonschulz = functools.partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)
