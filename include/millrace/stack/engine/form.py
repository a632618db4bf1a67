"""Bodies of type multipart/form-data: long parameters, and external tables sent as files."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from millrace.stack.engine.errors import EngineError


@dataclass
class Form:
    """The fields of a form: plain ones as text, files by name with their bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class _Collector:
    """Gathers the parts as the parser reports them."""

    def __init__(self) -> None:
        self.form = Form()
        self._name, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()

    def on_part_begin(self) -> None:
        self._headers, self._data = {}, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        if b"filename" in options:
            self.form.files[name] = bytes(self._data)
        else:
            self.form.fields[name] = bytes(self._data).decode("utf-8", "surrogateescape")


def parse(content_type: str, body: bytes) -> Form:
    """Parse a whole form. Raises ``EngineError`` if it is broken."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise EngineError.named("BAD_ARGUMENTS", "multipart/form-data without a boundary.")
    collector = _Collector()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": collector.on_part_begin,
            "on_header_field": collector.on_header_field,
            "on_header_value": collector.on_header_value,
            "on_header_end": collector.on_header_end,
            "on_part_data": collector.on_part_data,
            "on_part_end": collector.on_part_end,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise EngineError.named("BAD_ARGUMENTS", f"The form can't be read: {error}.") from error
    return collector.form
