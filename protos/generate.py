"""Generate the stubs of protos/: run through ``make protos``.

Needs grpcio-tools 1.76.0: stubs of newer versions do not load on older protobuf runtimes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
#: Where the stubs of each folder with .proto files go: the package that holds them.
PACKAGES = {
    "mpcvit/v1": "mpcvit.wire.v1",
    "inference": "parties.party.open_inference.stubs",
}


def main(root: Path = PROTOS.parent) -> None:
    """Write the stubs into the packages under ``root``, with imports relative to their real places."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
        _protoc([*outputs, *(str(path) for folder in PACKAGES for path in sorted((PROTOS / folder).glob("*.proto")))])
        for folder, package in PACKAGES.items():
            target = root.joinpath(*package.split("."))
            target.mkdir(parents=True, exist_ok=True)
            for path in sorted((Path(scratch) / folder).glob("*.py*")):
                text = path.read_text()
                for source, place in PACKAGES.items():
                    text = text.replace(f"from {source.replace('/', '.')} import", f"from {place} import")
                (target / path.name).write_text(text)
            (target / "__init__.py").write_text(f'"""Generated from protos/{folder}; do not edit."""\n')


def descriptors(protos: Path = PROTOS) -> bytes:
    """Return the serialised FileDescriptorSet of all files under ``protos``."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "set.binpb"
        _protoc([f"--descriptor_set_out={out}", *map(str, sorted(protos.rglob("*.proto")))], protos)
        return out.read_bytes()


def _protoc(words: list[str], protos: Path = PROTOS) -> None:
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", *words], check=True)


if __name__ == "__main__":
    main()
