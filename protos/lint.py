"""How .proto files are written here: the rules that keep generated code and wire names regular.

The same as buf's STANDARD rules where both speak of one thing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_LOWER_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_PASCAL = re.compile(r"([A-Z][a-z0-9]*)+")
_VERSIONED = re.compile(r"\w+(\.\w+)*\.v[1-9]\d*")
#: Protocols of others, whose packages are named as they are.
_FOREIGN = {"inference"}


def problems(files: FileDescriptorSet) -> Iterator[str]:
    """Yield a sentence for everything in ``files`` that is against the rules."""
    for file in files.file:
        yield from _file(file)
    yield from _messages_of_methods(files)


def _file(file: FileDescriptorProto) -> Iterator[str]:
    path = PurePosixPath(file.name)
    if file.syntax != "proto3":
        yield f"{path}: not proto3"
    if file.package != str(path.parent).replace("/", "."):
        yield f"{path}: package {file.package} is another than its folder"
    if file.package not in _FOREIGN and not _VERSIONED.fullmatch(file.package):
        yield f"{path}: package {file.package} ends with no version"
    yield from _named(f"{path}: file", path.stem, _LOWER_SNAKE)
    for message in file.message_type:
        yield from _message(f"{path}: {message.name}", message)
    for enum in file.enum_type:
        yield from _enum(f"{path}: {enum.name}", enum)
    for service in file.service:
        yield from _named(f"{path}: service", service.name, _PASCAL)
        if not service.name.endswith("Service"):
            yield f"{path}: service {service.name} does not end with Service"
        for method in service.method:
            yield from _named(f"{path}: method", method.name, _PASCAL)


def _message(where: str, message: Any) -> Iterator[str]:
    yield from _named(f"{where}: message", message.name, _PASCAL)
    for field in message.field:
        yield from _named(f"{where}: field", field.name, _LOWER_SNAKE)
    for union in message.oneof_decl:
        yield from _named(f"{where}: oneof", union.name.removeprefix("_"), _LOWER_SNAKE)
    for enum in message.enum_type:
        yield from _enum(f"{where}.{enum.name}", enum)
    for nested in message.nested_type:
        yield from _message(f"{where}.{nested.name}", nested)


def _enum(where: str, enum: Any) -> Iterator[str]:
    yield from _named(f"{where}: enum", enum.name, _PASCAL)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
    for value in enum.value:
        yield from _named(f"{where}: value", value.name, _UPPER_SNAKE)
        if not value.name.startswith(f"{prefix}_"):
            yield f"{where}: value {value.name} does not start with {prefix}_"
    if enum.value[0].name != f"{prefix}_UNSPECIFIED":
        yield f"{where}: the zero value is {enum.value[0].name}, not {prefix}_UNSPECIFIED"


def _messages_of_methods(files: FileDescriptorSet) -> Iterator[str]:
    """Every method has a request and a response of its own, named after it, so that each can grow by itself."""
    used: Counter[str] = Counter()
    for file in files.file:
        for service in file.service:
            for method in service.method:
                for kind, name in (("Request", method.input_type), ("Response", method.output_type)):
                    used[name] += 1
                    if name != f".{file.package}.{method.name}{kind}":
                        yield f"{file.name}: {kind.lower()} of {method.name} is {name}, not {method.name}{kind}"
    for name, times in used.items():
        if times > 1:
            yield f"{name} is used by {times} methods"


def _named(what: str, name: str, style: re.Pattern[str]) -> Iterator[str]:
    if not style.fullmatch(name):
        yield f"{what} {name} is not spelt as others are"
