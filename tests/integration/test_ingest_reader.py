"""Reading exact ranges again, however much more there is behind them."""

from __future__ import annotations

import time

import pytest
from tests.integration.ingest_bed import Bed

from millrace.contract.sources import Source
from millrace.ingest.model import Range
from millrace.ingest.reader import Reader
from millrace.settings import Settings


def test_short_ranges_are_read_out_of_long_partitions(settings: Settings) -> None:
    bed = Bed(settings, partitions=3)
    producer = bed.producer()
    for partition in range(3):
        for _ in range(12_000):  # more than a reader asks for at once
            producer.produce(bed.name, b"{}", partition=partition)
        producer.flush()
    ranges = [Range(0, 5, 15), Range(1, 0, 10), Range(2, 7, 9)]
    reader = Reader(settings, Source(bed.name, 1, bed.name, "events"))
    until = time.monotonic() + 60
    found = reader.read(ranges, lambda: time.monotonic() > until)
    # A run that is over gives up what Kafka does not have, and no range that is on its way.
    assert len(reader.read([Range(1, 0, 12_000)], lambda: True)) == 12_000
    with pytest.raises(TimeoutError, match="did not deliver"):
        reader.read([Range(1, 11_999, 12_001)], lambda: True)
    reader.close()
    places = zip(found["partition"].to_pylist(), found["offset"].to_pylist(), strict=True)
    assert sorted(places) == [
        (r.partition, offset) for r in ranges for offset in range(r.first_offset, r.next_offset)
    ]
