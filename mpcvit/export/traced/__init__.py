"""Any PyTorch module: ``torch.export`` traces it, passes rewrite the graph, and every ATen op has a lowering."""

from mpcvit.export.traced.export import export_traced

#: What :func:`mpcvit.export.model.export_model` looks for.
EXPORT = export_traced

__all__ = ["EXPORT", "export_traced"]
