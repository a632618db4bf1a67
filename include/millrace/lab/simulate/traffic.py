"""Realistic product traffic, by the seed: who visits what, from where, with which faults.

Events are drawn a chunk at a time with numpy, so that one process makes several hundred thousand a
second. People come in sessions; pages follow Zipf's law; countries wake and sleep by their clock.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import orjson

from millrace.lab.simulate.faults import DUPLICATE, FAULTS, LATE, Surroundings

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COUNTRIES: list[tuple[str, float, float]] = [
    ("US", 0.30, -6), ("DE", 0.09, 1), ("GB", 0.08, 0), ("FR", 0.06, 1), ("IN", 0.10, 5.5),
    ("BR", 0.07, -3), ("JP", 0.06, 9), ("CA", 0.04, -5), ("AU", 0.03, 10), ("ES", 0.03, 1),
    ("IT", 0.03, 1), ("NL", 0.02, 1), ("PL", 0.02, 1), ("SE", 0.01, 1), ("MX", 0.02, -6),
    ("ZA", 0.01, 2), ("KR", 0.02, 9), ("NZ", 0.01, 12),
]  # fmt: skip
"""Country, its share of users, and its clock's hours ahead of UTC."""

DEVICES: list[tuple[str, float]] = [("mobile", 0.58), ("desktop", 0.36), ("tablet", 0.06)]

EVENT_TYPES: list[tuple[str, float]] = [
    ("page_view", 0.74), ("click", 0.13), ("search", 0.05), ("add_to_cart", 0.04),
    ("purchase", 0.01), ("login", 0.02), ("signup", 0.01),
]  # fmt: skip
"""The event types that Millrace registers at its first start, with their share."""

PAGES: list[str] = [
    "/", "/product", "/search", "/cart", "/pricing", "/checkout", "/login", "/account", "/café",
    *(f"/category/{name}" for name in ("books", "garden", "music", "shoes", "toys", "travel")),
    *(f"/product/{number}" for number in range(1, 300)),
    *(f"/blog/{year}/{month:02d}" for year in range(2019, 2026) for month in range(1, 13)),
]  # fmt: skip

USERS = 200_000
SESSIONS = 5_000
"""How many people there are, and how many of them are on the site at a time."""

ACTIVITY = 1.0 + 0.8 * np.cos((np.arange(24) - 16) / 24 * 2 * np.pi)
"""How active people are at each hour of their day: most at 16:00, least at 4:00."""

DUPLICATE_WINDOW_MS = 12 * 3_600_000
"""Only events younger than this are sent twice, well inside the window that ingest remembers."""

HEX = np.frombuffer(b"".join(b"%02x" % value for value in range(256)), dtype="S2")


@dataclass
class Chunk:
    """Messages to send, in order, and what is expected of them.

    ``counts`` is keyed by (minute since 1970, country, device, event type) and holds the events
    to be accepted; ``rejected`` is by reason. ``drawn`` are the messages before faults were put
    into some of them, and ``sound`` tells which are accepted, with what was drawn.
    """

    keys: list[bytes]
    values: list[bytes | None]
    drawn: list[bytes]
    sound: npt.NDArray[np.bool_]
    counts: Counter[tuple[int, str, str, str]] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def accepted(self) -> list[bytes]:
        """Return the events to be accepted, as they were drawn."""
        return [self.drawn[place] for place in np.flatnonzero(self.sound)]


def _weights(shares: list[float]) -> Floats:
    return np.cumsum(np.array(shares) / sum(shares))


class Traffic:
    """An endless stream of chunks for one seed.

    ``tag`` tells one run's event ids from another's: the same seed at another time is other
    events. Two streams with equal arguments, asked for equal chunks, yield equal bytes.
    """

    def __init__(
        self,
        seed: int,
        tag: str,
        rates: dict[str, float],
        *,
        message_max_bytes: int,
        retention_days: int,
    ) -> None:
        digest = hashlib.sha256(f"{seed}:{tag}".encode()).digest()
        self.numbers = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
        self.choices = random.Random(digest)
        self.message_max_bytes = message_max_bytes
        self.retention_days = retention_days
        self.kinds = list(rates)
        self.kind_bounds = np.cumsum([rates[kind] for kind in self.kinds])

        self.countries = np.array([name for name, _, _ in COUNTRIES])
        self.devices = np.array([name for name, _ in DEVICES])
        self.types = np.array([name for name, _ in EVENT_TYPES])
        self.type_bounds = _weights([share for _, share in EVENT_TYPES])
        self.page_bounds = _weights([1 / rank for rank in range(1, len(PAGES) + 1)])
        draw = np.random.default_rng(seed)  # the same people in every run of a seed
        self.user_country = np.searchsorted(
            _weights([share for _, share, _ in COUNTRIES]), draw.random(USERS)
        )
        self.user_device = np.searchsorted(
            _weights([share for _, share in DEVICES]), draw.random(USERS)
        )
        self.visitors = self._arrivals(SESSIONS, hour=12)
        # Valid events of the last minutes, from which late copies are drawn: key, value.
        self.memory: list[tuple[bytes, bytes]] = []

    def _arrivals(self, count: int, hour: int) -> Ints:
        """Draw who comes next: few people often (Zipf), more where it is evening."""
        offsets = np.array([ahead for _, _, ahead in COUNTRIES])
        awake = ACTIVITY[((hour + offsets) % 24).astype(int)] / ACTIVITY.max()
        chosen = np.empty(0, dtype=np.int64)
        while len(chosen) < count:
            drawn = (USERS * self.numbers.random(2 * count) ** 2.5).astype(np.int64)
            keep = self.numbers.random(len(drawn)) < awake[self.user_country[drawn]]
            chosen = np.concatenate([chosen, drawn[keep]])
        return chosen[:count]

    def chunk(self, first_ms: int, last_ms: int, count: int, *, sent_at: datetime) -> Chunk:
        """Make ``count`` messages whose events happened between two times (ms since 1970).

        ``sent_at`` is the moment of sending, from which limits on late and future events count.
        """
        numbers = self.numbers
        times = np.linspace(first_ms, last_ms, count, endpoint=False).astype(np.int64)
        kinds = np.searchsorted(self.kind_bounds, numbers.random(count), side="right")
        late = kinds == self.kinds.index(LATE)
        times[late] -= self._delays(int(late.sum()))

        slots = numbers.integers(0, SESSIONS, count)
        users = self.visitors[slots]
        leaving = np.unique(slots[numbers.random(count) < 1 / 12])  # a session has 12 events or so
        hour = datetime.fromtimestamp(first_ms / 1000, UTC).hour
        self.visitors[leaving] = self._arrivals(len(leaving), hour)

        types = np.searchsorted(self.type_bounds, numbers.random(count))
        pages = np.searchsorted(self.page_bounds, numbers.random(count))
        rows = self._rows(times, types, users, pages)
        values: list[bytes | None] = list(rows)
        keys = [b"%d" % user for user in self.user_ids(users).tolist()]

        sound = (kinds >= len(self.kinds)) | late | np.isin(kinds, self._harmless())
        made = Chunk(keys=keys, values=values, drawn=rows, sound=sound)
        self._spoil(made, kinds, times, sent_at)
        self._expect(made, times, types, users, pages)
        return made

    def _delays(self, count: int) -> Ints:
        """Draw by how many milliseconds late events are late: most by hours, some by days."""
        hours = self.numbers.uniform(2 / 60, 20, count)
        days = min(6.0, self.retention_days / 2)
        far = self.numbers.random(count) < 0.1
        hours[far] = self.numbers.uniform(20, max(21, 24 * days), int(far.sum()))
        return np.asarray((hours * 3_600_000).astype(np.int64))

    @staticmethod
    def user_ids(users: Ints) -> Ints:
        """Return the ``user_id`` of people, who are numbered from 0 (the most active)."""
        return users * 7 + 1_000_003

    def _event_ids(self, count: int) -> list[bytes]:
        """Draw version 4 UUIDs as text."""
        raw = (
            np.frombuffer(self.numbers.bytes(16 * count), dtype=np.uint8).reshape(count, 16).copy()
        )
        raw[:, 6] = (raw[:, 6] & 0x0F) | 0x40
        raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
        text = HEX[raw].view("S1").reshape(count, 32)
        dashed = np.full((count, 36), b"-", dtype="S1")
        for source, target, length in (
            (0, 0, 8),
            (8, 9, 4),
            (12, 14, 4),
            (16, 19, 4),
            (20, 24, 12),
        ):
            dashed[:, target : target + length] = text[:, source : source + length]
        ids: list[bytes] = dashed.view("S36").ravel().tolist()
        return ids

    def _rows(self, times: Ints, types: Ints, users: Ints, pages: Ints) -> list[bytes]:
        """Spell the events as JSON."""
        seconds, which = np.unique(times // 1000, return_inverse=True)
        stamps = np.array([
            datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode()
            for second in seconds.tolist()
        ])  # fmt: skip
        spelled_pages = [orjson.dumps(page) for page in PAGES]
        template = (
            b'{"event_id":"%b","event":"%b","timestamp":"%b%03dZ","user_id":%d,"page":%b,'
            b'"country":"%b","device":"%b"%b}'
        )
        columns = zip(
            self._event_ids(len(times)),
            self.types.astype("S")[types].tolist(),
            stamps[which].tolist(),
            (times % 1000).tolist(),
            self.user_ids(users).tolist(),
            [spelled_pages[page] for page in pages.tolist()],
            self.countries.astype("S")[self.user_country[users]].tolist(),
            self.devices.astype("S")[self.user_device[users]].tolist(),
            self._extras(types),
            strict=True,
        )
        return [template % row for row in columns]

    def _extras(self, types: Ints) -> list[bytes]:
        """Give some event types properties of their own."""
        extras = [b""] * len(types)
        names = self.types[types]
        for place in np.flatnonzero(names == "purchase").tolist():
            cents = int(self.numbers.integers(99, 50_000))
            extras[place] = b',"amount":%d.%02d,"currency":"EUR"' % divmod(cents, 100)
        for place in np.flatnonzero(names == "search").tolist():
            extras[place] = b',"query":"%s"' % self.choices.choice(_QUERIES)
        for place in np.flatnonzero(names == "click").tolist():
            extras[place] = b',"element":"%s"' % self.choices.choice(_ELEMENTS)
        return extras

    def _harmless(self) -> list[int]:
        return [
            i for i, kind in enumerate(self.kinds) if kind in FAULTS and not FAULTS[kind].reason
        ]

    def _spoil(self, chunk: Chunk, kinds: Ints, times: Ints, sent_at: datetime) -> None:
        """Turn the messages that were drawn for a fault into what is sent instead."""
        around = Surroundings(sent_at, self.message_max_bytes, self.retention_days)
        youngest = sent_at.timestamp() * 1000 - DUPLICATE_WINDOW_MS
        fresh = np.flatnonzero((kinds >= len(self.kinds)) & (times > youngest))
        for place in np.flatnonzero(kinds < len(self.kinds)).tolist():
            kind = self.kinds[kinds[place]]
            if kind == DUPLICATE:
                self._repeat(chunk, place, fresh)
                continue
            chunk.kinds[kind] += 1
            if kind == LATE:
                continue
            fault = FAULTS[kind]
            fields = orjson.loads(chunk.values[place] or b"")
            chunk.values[place] = fault.spoil(fields, self.choices, around)
            if fault.reason:
                chunk.rejected[fault.reason] += 1
        for place in self.numbers.choice(fresh, min(len(fresh), 50), replace=False).tolist():
            self.memory.append((chunk.keys[place], chunk.values[place] or b""))
        del self.memory[:-20_000]

    def _repeat(self, chunk: Chunk, place: int, fresh: Ints) -> None:
        """Put a copy of an earlier event at ``place``: of this chunk, or of minutes ago."""
        before = fresh[: np.searchsorted(fresh, place)]
        if self.memory and (len(before) == 0 or self.choices.random() < 0.5):
            key, value = self.choices.choice(self.memory)
        elif len(before):
            original = int(before[self.choices.randrange(len(before))])
            key, value = chunk.keys[original], chunk.values[original] or b""
        else:  # nothing to copy yet: an empty message takes its place
            chunk.values[place] = b""
            chunk.rejected["empty_message"] += 1
            chunk.kinds["empty"] += 1
            return
        if self.choices.random() < 0.7:  # else it keeps the key drawn here: another partition
            chunk.keys[place] = key
        chunk.values[place] = value
        chunk.rejected["duplicate_event_id"] += 1
        chunk.kinds[DUPLICATE] += 1

    def _expect(self, chunk: Chunk, times: Ints, types: Ints, users: Ints, pages: Ints) -> None:
        """Count the sound events as the warehouse must."""
        sound = chunk.sound
        minutes = times[sound] // 60_000
        country, device = self.user_country[users][sound], self.user_device[users][sound]
        code = ((minutes * 64 + country) * 8 + device) * 16 + types[sound]
        groups, counts = np.unique(code, return_counts=True)
        for group, number in zip(groups.tolist(), counts.tolist(), strict=True):
            rest, event_type = divmod(group, 16)
            rest, device_code = divmod(rest, 8)
            minute, country_code = divmod(rest, 64)
            chunk.counts[
                minute, COUNTRIES[country_code][0], DEVICES[device_code][0],
                EVENT_TYPES[event_type][0],
            ] += number  # fmt: skip
        viewed = np.bincount(pages[sound], minlength=len(PAGES)).tolist()
        chunk.pages.update({page: n for page, n in zip(PAGES, viewed, strict=True) if n})


_QUERIES = [b"red shoes", b"vinyl", b"lawn mower", b"atlas", b"winter coat", b"espresso"]
_ELEMENTS = [b"buy-button", b"menu", b"banner", b"footer-link", b"gallery-next"]


def chunks(
    traffic: Traffic,
    start: datetime,
    spread_seconds: float,
    total: int,
    size: int,
    sent_at: datetime,
) -> Iterator[Chunk]:
    """Yield ``total`` messages whose events are spread evenly over a time from ``start`` on.

    Everything depends on the arguments alone, so that a run can be repeated byte by byte.
    """
    begin = int(start.timestamp() * 1000)
    per_message = spread_seconds * 1000 / total
    for first in range(0, total, size):
        count = min(size, total - first)
        first_ms = begin + int(first * per_message)
        last_ms = begin + int((first + count) * per_message)
        yield traffic.chunk(first_ms, last_ms, count, sent_at=sent_at)
