"""Messages as Arrow tables: their columns, and the form in which ClickHouse takes them."""

from __future__ import annotations

from collections.abc import Generator

import pyarrow as pa

MESSAGES = pa.schema(
    [
        ("partition", pa.uint32()),
        ("offset", pa.uint64()),
        ("kafka_timestamp", pa.timestamp("ms", tz="UTC")),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.binary()),
    ]
)
"""The columns of ``incoming``, as they are sent."""

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def arrow_stream(messages: pa.Table) -> Generator[bytes, None, None]:
    """Yield a table in Arrow's streaming format, piece by piece.

    The server takes a piece while the next is made, and pieces of a few MB reuse their memory.
    """
    yield messages.schema.serialize().to_pybytes()
    for batch in messages.to_batches(max_chunksize=20_000):
        yield batch.serialize().to_pybytes()
    yield END_OF_STREAM
