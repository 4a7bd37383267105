"""Some inferences by a client process of its own, on whatever host it is started: one JSON object per line.

Run by :mod:`mpcvit.bench.latency`; takes a ``client.yaml``, an ``.npy`` picture and a count.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mpcvit.client import Client


def main(config: str, picture: str, count: str) -> None:
    """Print logits, statistics and the seconds that the client waited."""
    pixels = np.load(picture, allow_pickle=False)
    with Client.from_config(Path(config)) as client:
        for _ in range(int(count)):
            start = time.perf_counter()
            answer = client.infer(pixels, deadline_s=600)
            line = {
                "seconds": time.perf_counter() - start,
                "logits": answer.logits.tolist(),
                "stats": [asdict(stats) for stats in answer.stats],
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
