"""Lint protos/ and compare them with the last release's: run through ``make protos-check``.

    python protos/check.py                  # print what is wrong, exit 1 if anything is
    python protos/check.py --freeze v1.2.3  # at a release: write its descriptors, against which later changes count

The descriptors of a release lie in releases/, under its tag's name, so that the check needs no tag and no network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from breaking import changes
from generate import PROTOS, descriptors
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from lint import problems


def baseline(protos: Path = PROTOS) -> Path:
    """Return the descriptors of the last release: the only file in releases/."""
    (path,) = (protos / "releases").glob("*.binpb")
    return path


def findings(protos: Path = PROTOS) -> Iterator[str]:
    """Yield a sentence for everything that is wrong."""
    present = FileDescriptorSet.FromString(descriptors(protos))
    yield from problems(present)
    path = baseline(protos)
    for change in changes(FileDescriptorSet.FromString(path.read_bytes()), present):
        yield f"{change} since {path.stem}"


def freeze(tag: str, protos: Path = PROTOS) -> None:
    """Make what is there now the last release's, called ``tag``."""
    baseline(protos).unlink()
    (protos / "releases" / f"{tag}.binpb").write_bytes(descriptors(protos))


def main() -> None:
    """Check, or freeze a release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze", metavar="TAG", help="make the present protos those of the release TAG")
    tag = parser.parse_args().freeze
    if tag:
        freeze(tag)
    found = list(findings())
    for finding in found:
        print(finding, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
