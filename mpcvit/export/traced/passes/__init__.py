"""What rewrites a traced graph before it is lowered, one file each, in this order."""

from collections.abc import Callable

from mpcvit.export.traced.graph import TracedGraph
from mpcvit.export.traced.passes.batch_norm_into_layer import fold_batch_norms
from mpcvit.export.traced.passes.constants import fold_constants
from mpcvit.export.traced.passes.identities import drop_identities
from mpcvit.export.traced.passes.mean_centring import centre_streams
from mpcvit.export.traced.passes.scale_into_layer import fold_scales
from mpcvit.export.traced.passes.unit_rows import join_unit_rows

PASSES: tuple[Callable[[TracedGraph], None], ...] = (
    fold_constants,  # before copies are dropped, on which views of them rely
    drop_identities,
    fold_batch_norms,
    fold_scales,
    join_unit_rows,
    centre_streams,
)

__all__ = ["PASSES"]
