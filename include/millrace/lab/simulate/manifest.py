"""The manifest: what a simulation sent, as far as the broker confirmed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from millrace.lab.simulate.traffic import Chunk

FORMAT = 1

Ranges = list[list[int]]
"""Half-open ranges of offsets, ``[first, next]`` each, in rising order."""


@dataclass
class Manifest:
    """What one run sent and what the warehouse must hold of it.

    ``positions`` has, by partition, the offsets that the broker acknowledged for this run's
    messages and nobody else's, so that several runs can share a topic. ``events`` counts what is
    to be accepted by ``[minute since 1970, country, device, event type, count]``. ``unconfirmed``
    counts messages that were handed over but never acknowledged (only after a forced stop): with
    any of those the counts are not exact.

    A sender of few messages may note them one by one: ``rows`` has the events to be accepted, as
    ``[event id, time in ms, event type, user, page, country, device]``, and ``content`` by
    partition the sum, modulo 2^64, of the digests of what ``raw_events`` must keep.
    """

    run_id: str
    seed: int
    topic: str
    topic_id: str
    started_at: str
    finished_at: str = ""
    options: dict[str, object] = field(default_factory=dict)
    sent: int = 0
    unconfirmed: int = 0
    bytes_sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)
    positions: dict[str, Ranges] = field(default_factory=dict)
    events: list[list[int | str]] = field(default_factory=list)
    rows: list[list[int | str]] = field(default_factory=list)
    content: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(path.suffix + ".part")
        draft.write_bytes(orjson.dumps(asdict(self)) + b"\n")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest; raises ``ValueError`` when the file is none."""
        try:
            manifest = cls(**orjson.loads(path.read_bytes()))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise ValueError(
                f"{path} is no simulation manifest ({error}); give the file that "
                "`./millrace simulate` named at its end"
            ) from error
        if manifest.format != FORMAT:
            raise ValueError(
                f"{path} has manifest format {manifest.format}, this Millrace reads {FORMAT}; "
                "simulate again"
            )
        return manifest


def ranges_of(places: Iterable[tuple[int, int]]) -> dict[str, Ranges]:
    """Return places (partition, offset) as a manifest's ``positions``."""
    found: dict[str, Ranges] = {}
    for partition, offset in sorted(places):
        ranges = found.setdefault(str(partition), [])
        if ranges and ranges[-1][1] == offset:
            ranges[-1][1] = offset + 1
        else:
            ranges.append([offset, offset + 1])
    return found


class Tally:
    """Sums up chunks, and the offsets that delivery reports bring."""

    def __init__(self) -> None:
        self.events: Counter[tuple[int, str, str, str]] = Counter()
        self.pages: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.positions: dict[int, Ranges] = {}
        self.bytes_sent = 0
        self.handed_over = 0
        self._last: dict[int, list[int]] = {}

    def add(self, chunk: Chunk) -> None:
        """Count a chunk that was handed to the producer whole."""
        self.events.update(chunk.counts)
        self.pages.update(chunk.pages)
        self.rejected.update(chunk.rejected)
        self.kinds.update(chunk.kinds)
        self.handed_over += len(chunk.values)
        self.bytes_sent += sum(map(len, filter(None, chunk.values)))

    def delivered(self, partition: int, offset: int) -> None:
        """Note one acknowledged message (called for each: it is kept short)."""
        last = self._last.get(partition)
        if last is not None and last[1] == offset:
            last[1] = offset + 1
        else:
            self._last[partition] = last = [offset, offset + 1]
            self.positions.setdefault(partition, []).append(last)

    @property
    def acknowledged(self) -> int:
        """How many messages the broker confirmed."""
        ranges = [one for several in self.positions.values() for one in several]
        return sum(after - first for first, after in ranges)

    def fill(self, manifest: Manifest) -> None:
        """Write the sums into a manifest."""
        manifest.sent = self.acknowledged
        manifest.unconfirmed = self.handed_over - self.acknowledged
        manifest.bytes_sent = self.bytes_sent
        manifest.accepted = self.events.total()
        manifest.duplicates = self.rejected["duplicate_event_id"]
        manifest.rejected = dict(sorted(self.rejected.items()))
        manifest.kinds = dict(sorted(self.kinds.items()))
        manifest.pages = dict(self.pages.most_common())
        manifest.positions = {
            str(partition): sorted(ranges) for partition, ranges in sorted(self.positions.items())
        }
        manifest.events = [[*group, count] for group, count in sorted(self.events.items())]
