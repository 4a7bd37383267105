"""What models read, and the files that it comes from: pictures, clips, volumes, bags. No torch."""

from mpcvit.inputs.kind import InputKind
from mpcvit.inputs.spec import InputSpec

__all__ = ["InputKind", "InputSpec"]
