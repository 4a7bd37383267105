"""The check of protos/: they keep to the rules, and only add to the last release."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="needs the dev extra")

import check
from breaking import changes
from generate import PROTOS, descriptors
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from lint import problems

GOOD = """syntax = "proto3";
package toy.v1;
service EchoService {
  rpc Say(SayRequest) returns (stream SayResponse);
}
message SayRequest {
  string text = 1;
  oneof place { int64 row = 2; bytes key = 3; }
  Tone tone = 4;
  message Line { int32 number = 1; }
  repeated Line lines = 5;
}
message SayResponse { string text = 1; }
enum Tone { TONE_UNSPECIFIED = 0; TONE_LOUD = 1; }
"""


def compiled(folder: Path, text: str, name: str = "toy/v1/echo_chamber.proto") -> FileDescriptorSet:
    """The descriptors of one file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = FileDescriptorSet.FromString(descriptors(folder))
    path.unlink()
    return found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """The descriptors of GOOD."""
    return compiled(tmp_path_factory.mktemp("good"), GOOD)


def test_the_protos_are_in_order() -> None:
    """They keep to the rules, and whoever speaks the last release's protocol is understood."""
    assert list(check.findings()) == []


def test_the_last_release_is_the_last_tag(tmp_path: Path) -> None:
    """The descriptors in releases/ are those of its tag; a later release froze its own."""
    tag = check.baseline().stem
    archive = subprocess.run(["git", "archive", tag, "protos"], cwd=PROTOS.parent, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this clone has no tag {tag}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path, filter="data")
    assert FileDescriptorSet.FromString(descriptors(tmp_path / "protos")) == FileDescriptorSet.FromString(
        check.baseline().read_bytes()
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("text = 1;\n  oneof", "text = 6;\n  oneof", "field toy.v1.SayRequest.text was number 1"),
        ("string text = 1;\n  oneof", "bytes text = 1;\n  oneof", "was number 1, optional string"),
        ("string text = 1;\n  oneof", "repeated string text = 1;\n  oneof", "is number 1, repeated string"),
        ("string text = 1;\n  oneof", "optional string text = 1;\n  oneof", "with presence"),
        ("string text = 1;\n  oneof", "oneof", "field toy.v1.SayRequest.text is gone"),
        ("string text = 1;\n  oneof", "string words = 1;\n  oneof", "field toy.v1.SayRequest.text is gone"),
        ("oneof place { int64 row = 2; bytes key = 3; }", "int64 row = 2; bytes key = 3;", "of place"),
        ("oneof place { int64 row", "oneof point { int64 row", "of place"),
        ("Tone tone = 4", "Line tone = 4", "optional enum.toy.v1.Tone"),
        ("int32 number = 1", "int64 number = 1", "field toy.v1.SayRequest.Line.number"),
        ("repeated Line lines = 5;", "", "field toy.v1.SayRequest.lines is gone"),
        ("TONE_LOUD = 1", "TONE_LOUD = 2", "value toy.v1.Tone.TONE_LOUD was 1, is 2"),
        ("TONE_LOUD = 1;", "", "value toy.v1.Tone.TONE_LOUD is gone"),
        ("returns (stream SayResponse)", "returns (SayResponse)", "method toy.v1.EchoService.Say was"),
        ("rpc Say(", "rpc Tell(", "method toy.v1.EchoService.Say is gone"),
        ("service EchoService", "service CallService", "service toy.v1.EchoService is gone"),
        ("message SayResponse { string text = 1; }", "message SayResponse {}", "SayResponse.text is gone"),
    ],
)
def test_what_is_not_added_breaks(good: FileDescriptorSet, tmp_path: Path, old: str, new: str, said: str) -> None:
    """Everything that a program built before could notice is reported."""
    assert old in GOOD
    found = list(changes(good, compiled(tmp_path, GOOD.replace(old, new))))
    assert any(said in change for change in found), found


def test_a_file_that_is_renamed_breaks(good: FileDescriptorSet, tmp_path: Path) -> None:
    moved = compiled(tmp_path, GOOD, "toy/v1/other.proto")
    assert list(changes(good, moved)) == ["file toy/v1/echo_chamber.proto is gone"]
    other = compiled(tmp_path, GOOD.replace("toy.v1", "toy.v2"))
    assert "package toy.v2" in next(changes(good, other))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bytes key = 3; }", "bytes key = 3; int32 line = 9; }"),
        ("string text = 1;\n  oneof", "string text = 1;\n  bool loud = 8;\n  oneof"),
        ("TONE_LOUD = 1;", "TONE_LOUD = 1; TONE_SOFT = 2;"),
        ("rpc Say(", "rpc Tell(TellRequest) returns (TellResponse);\n  rpc Say("),
    ],
)
def test_additions_break_nothing(good: FileDescriptorSet, tmp_path: Path, old: str, new: str) -> None:
    more = GOOD.replace(old, new) + "message TellRequest {}\nmessage TellResponse {}\n"
    assert list(changes(good, compiled(tmp_path, more))) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("package toy.v1", "package toy", "package toy is another than its folder"),
        ("package toy.v1", "package toy.one", "package toy.one ends with no version"),
        ("EchoService", "Echo", "service Echo does not end with Service"),
        ("service EchoService", "service echoService", "service echoService is not spelt"),
        ("rpc Say(", "rpc say(", "method say is not spelt"),
        ("(SayRequest)", "(Tone2)", "request of Say is .toy.v1.Tone2, not SayRequest"),
        ("stream SayResponse", "stream SayRequest", ".toy.v1.SayRequest is used by 2 methods"),
        ("string text = 1;\n  oneof", "string Text = 1;\n  oneof", "field Text is not spelt"),
        ("oneof place", "oneof Place", "oneof Place is not spelt"),
        ("message Line", "message line", "message line is not spelt"),
        ("Line { int32 number", "Line { int32 aNumber", "SayRequest.Line: field aNumber"),
        ("TONE_LOUD", "LOUD", "value LOUD does not start with TONE_"),
        ("TONE_LOUD", "TONE_loud", "value TONE_loud is not spelt"),
        ("TONE_UNSPECIFIED", "TONE_NONE", "the zero value is TONE_NONE"),
        ('syntax = "proto3"', 'syntax = "proto2"', "not proto3"),
    ],
)
def test_what_is_written_otherwise_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    """One sentence or more for every rule that is broken."""
    assert old in GOOD
    text = GOOD.replace("Line lines", "line lines") if new == "message line" else GOOD
    text = text.replace(old, new) + "message Tone2 {}\n"
    if "proto2" in new:
        text = 'syntax = "proto2";\npackage toy.v1;\nmessage Thing {}\n'
    assert any(said in problem for problem in problems(compiled(tmp_path, text)))


def test_good_files_pass(good: FileDescriptorSet, tmp_path: Path) -> None:
    assert list(problems(good)) == []
    assert [p for p in problems(compiled(tmp_path, GOOD, "toy/v1/EchoChamber.proto")) if "file EchoChamber" in p]


def test_a_release_is_frozen(tmp_path: Path) -> None:
    """A release's descriptors take the place of the one before; what they hold must then stay."""
    releases = tmp_path / "releases"
    releases.mkdir()
    (releases / "v0.1.0.binpb").write_bytes(b"")
    (tmp_path / "toy" / "v1").mkdir(parents=True)
    proto = tmp_path / "toy" / "v1" / "echo.proto"
    proto.write_text(GOOD)
    check.freeze("v0.2.0", tmp_path)
    assert [path.name for path in releases.iterdir()] == ["v0.2.0.binpb"]
    assert list(check.findings(tmp_path)) == []
    proto.write_text(GOOD.replace("TONE_LOUD", "TONE_HIGH"))
    assert list(check.findings(tmp_path)) == ["value toy.v1.Tone.TONE_LOUD is gone since v0.2.0"]


def test_the_script_says_what_is_wrong() -> None:
    """It ends with 0 where nothing is."""
    run = subprocess.run([sys.executable, PROTOS / "check.py"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
