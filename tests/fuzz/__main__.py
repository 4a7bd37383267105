"""``python -m tests.fuzz TARGET [libFuzzer options]``: coverage-guided fuzzing of one parser, by atheris.

``-max_total_time=3600`` runs an hour. A crash, a hang or a large allocation leaves the input that did it in
``crash-*``,
``timeout-*`` or ``oom-*``. Needs the extra ``fuzz``.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mpcvit", "parties", "PIL", "yaml"]):
    from tests.fuzz.targets import TARGETS, try_one

#: Seconds for one input; MiB that one allocation may take. Instrumented code is several times slower.
_LIMITS = ["-timeout=20", "-malloc_limit_mb=64"]


def main() -> None:
    """Fuzz the parser that the first argument names."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    logging.disable()
    warnings.simplefilter("ignore")  # Pillow's, of damaged files
    with tempfile.TemporaryDirectory() as seeds:
        for number, seed in enumerate(target.seeds):
            (Path(seeds) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *_LIMITS, *options, seeds], lambda raw: try_one(target, raw))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
