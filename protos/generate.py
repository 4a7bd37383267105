"""Generate mpcvit/wire/v1 from protos/: run through ``make protos``.

Needs grpcio-tools 1.76.0: stubs of newer versions do not load on older protobuf runtimes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "mpcvit" / "wire" / "v1"


def main() -> None:
    """Write the stubs with imports relative to their real place."""
    sources = sorted((ROOT / "protos").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *outputs]
        subprocess.run([*command, *map(str, sources)], check=True)
        TARGET.mkdir(parents=True, exist_ok=True)
        for path in sorted(Path(scratch).rglob("*.py*")):
            text = re.sub(r"from mpcvit\.v1 import", "from mpcvit.wire.v1 import", path.read_text())
            (TARGET / path.name).write_text(text)
    (TARGET / "__init__.py").write_text('"""Generated from protos/mpcvit/v1; do not edit."""\n')


if __name__ == "__main__":
    main()
