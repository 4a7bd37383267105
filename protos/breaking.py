"""What would break programs that were built with an earlier release's protos: anything but additions.

As strict as Python's users need it: names count as well as numbers, since generated code and JSON hold names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto


def changes(old: FileDescriptorSet, new: FileDescriptorSet) -> Iterator[str]:
    """Yield a sentence for everything of ``old`` that ``new`` lacks or has otherwise."""
    yield from _kept("file", "", old.file, new.file, _file)


def _kept(
    kind: str, where: str, old: Sequence[Any], new: Sequence[Any], compare: Callable[[str, Any, Any], Iterator[str]]
) -> Iterator[str]:
    """Compare what has the same name; what has no counterpart is gone."""
    by_name = {item.name: item for item in new}
    for item in old:
        name = f"{where}{item.name}"
        if item.name in by_name:
            yield from compare(name, item, by_name[item.name])
        else:
            yield f"{kind} {name} is gone"


def _file(name: str, old: Any, new: Any) -> Iterator[str]:
    if (old.package, old.syntax) != (new.package, new.syntax):
        yield f"file {name} was {old.syntax} of package {old.package}, is {new.syntax} of package {new.package}"
    where = f"{old.package}."
    yield from _kept("message", where, old.message_type, new.message_type, _message)
    yield from _kept("enum", where, old.enum_type, new.enum_type, _enum)
    yield from _kept("service", where, old.service, new.service, _service)


def _message(name: str, old: Any, new: Any) -> Iterator[str]:
    where = f"{name}."

    def field(path: str, before: FieldDescriptorProto, after: FieldDescriptorProto) -> Iterator[str]:
        was, is_now = _field(before, old), _field(after, new)
        if was != is_now:
            yield f"field {path} was {was}, is {is_now}"

    yield from _kept("field", where, old.field, new.field, field)
    yield from _kept("message", where, old.nested_type, new.nested_type, _message)
    yield from _kept("enum", where, old.enum_type, new.enum_type, _enum)


def _field(field: FieldDescriptorProto, message: Any) -> str:
    """Return all of a field that its bytes, its JSON or its generated code depend on."""
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    presence = " with presence" if field.proto3_optional else ""
    union = f" of {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
    return f"number {field.number}, {label} {kind}{field.type_name}{presence}{union}"


def _enum(name: str, old: Any, new: Any) -> Iterator[str]:
    def value(path: str, before: Any, after: Any) -> Iterator[str]:
        if before.number != after.number:
            yield f"value {path} was {before.number}, is {after.number}"

    yield from _kept("value", f"{name}.", old.value, new.value, value)


def _service(name: str, old: Any, new: Any) -> Iterator[str]:
    def method(path: str, before: MethodDescriptorProto, after: MethodDescriptorProto) -> Iterator[str]:
        was, is_now = _method(before), _method(after)
        if was != is_now:
            yield f"method {path} was {was}, is {is_now}"

    yield from _kept("method", f"{name}.", old.method, new.method, method)


def _method(method: MethodDescriptorProto) -> str:
    streams = ["stream " if streaming else "" for streaming in (method.client_streaming, method.server_streaming)]
    return f"{streams[0]}{method.input_type} -> {streams[1]}{method.output_type}"
