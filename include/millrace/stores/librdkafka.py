"""Headers by way of librdkafka's C interface, for messages that ``confluent_kafka`` can't read.

Its ``Message.headers()`` raises where the name of a header is not UTF-8, and gives nothing of the
name. The library beneath has it; so such messages, and only they, are asked for once more.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from confluent_kafka import KafkaError, KafkaException, cimpl

from millrace.stores.headers import Header

CONSUMER = 1
ERROR_BYTES = 512
POLL_MS = 100
GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
"""Errors that say that Kafka no longer has the offset."""


class _Message(ctypes.Structure):
    """``rd_kafka_message_t``."""

    _fields_ = (
        ("err", ctypes.c_int),
        ("rkt", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("_private", ctypes.c_void_p),
    )


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """Return the very library that ``confluent_kafka`` uses, found through its extension module."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "conf_new": (pointer, []),
        "conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "conf_destroy": (None, [pointer]),
        "new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "poll_set_consumer": (number, [pointer]),
        "topic_partition_list_new": (pointer, [number]),
        "topic_partition_list_add": (pointer, [pointer, text, ctypes.c_int32]),
        "topic_partition_list_set_offset": (
            number,
            [pointer, text, ctypes.c_int32, ctypes.c_int64],
        ),
        "topic_partition_list_destroy": (None, [pointer]),
        "assign": (number, [pointer, pointer]),
        "consumer_poll": (ctypes.POINTER(_Message), [pointer, number]),
        "message_headers": (number, [ctypes.POINTER(_Message), ctypes.POINTER(pointer)]),
        "message_destroy": (None, [ctypes.POINTER(_Message)]),
        "header_get_all": (
            number,
            [
                pointer,
                ctypes.c_size_t,
                ctypes.POINTER(text),
                ctypes.POINTER(pointer),
                ctypes.POINTER(ctypes.c_size_t),
            ],
        ),
        "consumer_close": (number, [pointer]),
        "destroy": (None, [pointer]),
        "err2str": (text, [number]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class HeaderReader:
    """A consumer that reads the headers of single messages, names as bytes."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the consumer; raises ``ValueError`` where a setting is refused.

        Args:
            config: librdkafka's settings; callbacks, which only Python's client takes, are left
                out.
        """
        self._library = _library()
        error = ctypes.create_string_buffer(ERROR_BYTES)
        settings = self._library.rd_kafka_conf_new()
        for name, value in ({**config, "enable.partition.eof": True}).items():
            if callable(value):
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if self._library.rd_kafka_conf_set(
                settings, name.encode(), text.encode(), error, ERROR_BYTES
            ):
                self._library.rd_kafka_conf_destroy(settings)
                raise ValueError(f"{name}: {error.value.decode(errors='replace')}")
        self._consumer = self._library.rd_kafka_new(CONSUMER, settings, error, ERROR_BYTES)
        if not self._consumer:
            self._library.rd_kafka_conf_destroy(settings)
            raise ValueError(error.value.decode(errors="replace"))
        self._library.rd_kafka_poll_set_consumer(self._consumer)

    def close(self) -> None:
        """Leave Kafka."""
        self._library.rd_kafka_consumer_close(self._consumer)
        self._library.rd_kafka_destroy(self._consumer)

    def read(
        self, topic: str, partition: int, offsets: Sequence[int], seconds: float
    ) -> dict[int, list[Header]]:
        """Return the headers of the messages at ``offsets``, without those that are gone.

        Raises ``TimeoutError`` when Kafka did not deliver them within ``seconds``.
        """
        wanted = sorted(offsets)
        until = time.monotonic() + seconds
        found: dict[int, list[Header]] = {}
        reached = -1
        for offset in wanted:
            if offset > reached:
                self._assign(topic, partition, offset)
                reached = self._read_on(wanted, offset, until, found)
        self._assign(topic, partition, None)
        return found

    def _assign(self, topic: str, partition: int, offset: int | None) -> None:
        library, name = self._library, topic.encode()
        places = library.rd_kafka_topic_partition_list_new(1)
        if offset is not None:
            library.rd_kafka_topic_partition_list_add(places, name, partition)
            library.rd_kafka_topic_partition_list_set_offset(places, name, partition, offset)
        failed = library.rd_kafka_assign(self._consumer, places)
        library.rd_kafka_topic_partition_list_destroy(places)
        if failed:
            raise KafkaException(KafkaError(failed))

    def _read_on(
        self, wanted: Sequence[int], first: int, until: float, found: dict[int, list[Header]]
    ) -> int:
        """Read from ``first`` to the last of ``wanted``; return which offset that settles."""
        asked = frozenset(wanted)
        trouble = "no error"
        while time.monotonic() < until:
            message = self._library.rd_kafka_consumer_poll(self._consumer, POLL_MS)
            if not message:
                continue
            try:
                error, offset = message.contents.err, message.contents.offset
                if error == KafkaError._PARTITION_EOF:
                    return wanted[-1]
                if error in GONE:
                    return first
                if error:
                    trouble = self._library.rd_kafka_err2str(error).decode()
                    continue
                if offset in asked:
                    found[offset] = self._headers_of(message)
                if offset >= wanted[-1]:
                    return wanted[-1]
            finally:
                self._library.rd_kafka_message_destroy(message)
        raise TimeoutError(f"Kafka did not deliver offset {first} once more in time; {trouble}")

    def _headers_of(self, message: Any) -> list[Header]:
        headers = ctypes.c_void_p()
        if self._library.rd_kafka_message_headers(message, ctypes.byref(headers)):
            return []
        name, value, size = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_size_t()
        found: list[Header] = []
        while not self._library.rd_kafka_header_get_all(
            headers, len(found), ctypes.byref(name), ctypes.byref(value), ctypes.byref(size)
        ):
            # The library's own null is a null pointer; an empty value has one to nothing.
            content = None if value.value is None else ctypes.string_at(value.value, size.value)
            found.append((name.value or b"", content))
        return found
