"""The spool: acknowledged events that wait on the disk for Kafka (docs/decisions/0024).

All processes of the API share one folder. ``<position>.spool`` are its segments; the name is the
position of a segment's first byte in everything ever appended. A frame is what one request brought:
length and CRC-32 of its content, then the records as MessagePack. ``state`` is memory that the
processes share: how far is appended, how far drained. Appending takes the lock ``append``, draining
the lock ``drain``; whoever has the spool open holds ``members``, so that the first to come knows
that it is alone, and finds out from the segments what is there.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from millrace.settings import Settings

SEGMENT_BYTES = 64 << 20
"""A segment that is longer is followed by a new one."""
HEADER = struct.Struct("<II")
"""Of a frame: the length of its content, and its CRC-32."""

log = logging.getLogger(__name__)


class Record(NamedTuple):
    """A message for Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]] | None


class Frame(NamedTuple):
    """The records of a frame, and the position behind it."""

    records: list[Record]
    end: int


class SpoolError(Exception):
    """The spool can't take anything: it is full, or its disk is, or the disk fails."""


class DamagedError(Exception):
    """What was appended can't be read: the disk has changed it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


FORMAT, APPENDED, DRAINED, SEGMENT, PROGRESSED_AT = range(5)
"""The numbers of ``state``; ``SEGMENT`` is the one that is written."""
THIS_FORMAT = 1


class _State:
    """Numbers that the processes share; each is read and written whole."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END) < mmap.PAGESIZE:
                file.write(bytes(mmap.PAGESIZE))  # a hole would end us with SIGBUS on a full disk
                file.flush()
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._numbers = memoryview(self._map).cast("Q")

    def __getitem__(self, field: int) -> int:
        return self._numbers[field]

    def __setitem__(self, field: int, value: int) -> None:
        self._numbers[field] = value

    def save(self) -> None:
        """Write it to the disk."""
        self._map.flush()

    def close(self) -> None:
        """Let the memory go."""
        self._numbers.release()
        self._map.close()


class Spool:
    """What the processes of the API keep for Kafka while it is away.

    One process may append from one thread and drain from another.
    """

    def __init__(self, settings: Settings) -> None:
        """Open it; cut what a crash of the machine left half written.

        Raises ``OSError`` where the folder can't be written.
        """
        self.folder = folder(settings)
        self.limit = settings.ingestion_spool_bytes
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._locks = {
            name: os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            for name in ("append", "drain", "members")
        }
        self._state = _State(self.folder / "state")
        self._mutex = threading.Lock()  # a lock of a file holds back processes, not threads
        self._written = (-1, -1)  # position and descriptor of the segment that is written
        self._is_broken = False
        self._join()

    # What everybody asks.

    @property
    def is_empty(self) -> bool:
        """Whether Kafka has everything that was ever appended."""
        return self._state[DRAINED] == self._state[APPENDED]

    @property
    def appended_to(self) -> int:
        """The position behind everything appended."""
        return self._state[APPENDED]

    @property
    def drained_to(self) -> int:
        """The position before which Kafka has everything."""
        return self._state[DRAINED]

    @property
    def waiting_bytes(self) -> int:
        """The bytes that Kafka does not have yet."""
        return self._state[APPENDED] - self._state[DRAINED]

    @property
    def progressed_at(self) -> float:
        """When Kafka last took something from the spool, in seconds since the machine started."""
        return self._state[PROGRESSED_AT] / 1000

    # Appending.

    def append(self, requests: Sequence[Sequence[Record]]) -> None:
        """Append the records of requests in their order, and return when the disk has them.

        Raises ``SpoolError``: none of them may be taken for kept then.
        """
        content = b"".join(map(_frame, requests))
        with self._mutex:
            try:
                with self._appending():
                    start = self._state[APPENDED]
                    if start - self._state[DRAINED] + len(content) > self.limit:
                        raise SpoolError(f"The spool is full: {self.waiting_bytes:,} bytes wait.")
                    descriptor = self._segment_at(start)
                    _write(descriptor, content, start - self._state[SEGMENT])
                    self._state[APPENDED] = start + len(content)
                os.fsync(descriptor)
            except OSError as error:
                # What can't be written or synchronised is not trusted again: a new segment follows.
                self._is_broken = True
                raise SpoolError(f"The spool can't be written: {error}.") from error

    def _segment_at(self, position: int) -> int:
        """Return the descriptor of the segment to write to, cut to what was appended."""
        base = self._state[SEGMENT]
        descriptor = self._open_segment(base)
        found = os.fstat(descriptor).st_size
        if found > position - base:  # a process died while it wrote, or the disk was full
            os.ftruncate(descriptor, position - base)
        elif found < position - base:
            self._is_broken = True
        if position - base >= SEGMENT_BYTES or (self._is_broken and position > base):
            if not self._is_broken:
                os.fsync(descriptor)
            descriptor = self._begin_segment(position)
            self._is_broken = False
        return descriptor

    def _begin_segment(self, position: int) -> int:
        # The number first: a file that nobody writes to would hide what is appended elsewhere.
        self._state[SEGMENT] = position
        return self._open_segment(position)

    def _open_segment(self, base: int) -> int:
        if self._written[0] != base:
            self._switch(base, os.open(self._path(base), os.O_RDWR | os.O_CREAT, 0o600))
            self._sync_folder()
        return self._written[1]

    def _switch(self, base: int, descriptor: int) -> None:
        if self._written[1] >= 0:
            os.close(self._written[1])
        self._written = (base, descriptor)

    # Draining.

    def begin_draining(self) -> bool:
        """Become the one who drains; tell whether that worked. It lasts until ``close``."""
        try:
            fcntl.flock(self._locks["drain"], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def frames(self, start: int | None = None) -> Iterator[Frame]:
        """Yield what waits, from a position on (the first that waits), up to now.

        Raises ``DamagedError`` where a frame can't be read.
        """
        position = self._state[DRAINED] if start is None else start
        end = self._state[APPENDED]
        while position < end:
            base, began = self._base_of(position), position
            with self._path(base).open("rb") as file:
                for frame in _read(file, base, position, end):
                    yield frame
                    position = frame.end
            self._delete_drained()
            if position < end and (position == began or position not in self._bases()):
                raise DamagedError(f"{self._path(base)} can't be read from byte {position - base}")

    def drained(self, position: int, now: float) -> None:
        """Note that Kafka has everything before ``position``."""
        self._state[PROGRESSED_AT] = int(now * 1000)
        self._state[DRAINED] = position

    def tidy(self) -> None:
        """Give the disk back what an empty spool's last segment takes."""
        if not self.is_empty or self._state[SEGMENT] == self._state[APPENDED]:
            return
        with self._mutex, self._appending():
            if self.is_empty:
                self._begin_segment(self._state[APPENDED])
                self._state.save()
        self._delete_drained()

    def _delete_drained(self) -> None:
        """Delete the segments all of which Kafka has."""
        for base, following in itertools.pairwise(self._bases()):
            if following <= self._state[DRAINED]:
                self._path(base).unlink(missing_ok=True)

    def skip_damaged(self) -> Path:
        """Keep aside the first segment, whose next frame can't be read; go on behind it.

        Returns the file that it is kept in.
        """
        base = self._base_of(self._state[DRAINED])
        with self._mutex, self._appending():
            if self._state[SEGMENT] == base:
                self._begin_segment(self._state[APPENDED])
        aside = self._path(base).with_suffix(".damaged")
        self._path(base).rename(aside)
        later = (one for one in self._bases() if one > base)
        self._state[DRAINED] = min(later, default=self._state[APPENDED])
        self._sync_folder()
        return aside

    def close(self) -> None:
        """Leave it to the other processes."""
        self._switch(-1, -1)
        for descriptor in self._locks.values():
            os.close(descriptor)
        self._state.close()

    # The folder.

    def _join(self) -> None:
        """Take part; whoever is alone finds out what is there first."""
        members = self._locks["members"]
        try:
            fcntl.flock(members, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(members, fcntl.LOCK_SH)
            if self._state[FORMAT] == THIS_FORMAT:
                return
            raise SpoolError(f"{self.folder / 'state'} is none of this version.") from None
        self._recover()
        fcntl.flock(members, fcntl.LOCK_SH)

    def _recover(self) -> None:
        """Find out from the segments what is appended, and cut a frame that is half there."""
        state, bases = self._state, self._bases()
        known = state[DRAINED] if state[FORMAT] == THIS_FORMAT else 0
        state[FORMAT] = THIS_FORMAT
        if not bases:
            state[APPENDED] = state[DRAINED] = max(known, state[APPENDED])
            self._begin_segment(state[APPENDED])
            return
        with self._path(bases[-1]).open("r+b") as file:
            end = bases[-1]
            for frame in _read(file, end, end, 1 << 62):
                end = frame.end
            file.seek(end - bases[-1])
            if rest := file.read():
                if end < state[APPENDED]:  # it was whole once
                    self._path(end).with_suffix(".damaged").write_bytes(rest)
                log.warning("%s: cut %s bytes that can't be read", file.name, len(rest))
                file.truncate(end - bases[-1])
                os.fsync(file.fileno())
        state[APPENDED], state[SEGMENT] = end, bases[-1]
        state[DRAINED] = min(max(known, bases[0]), end)
        if not self._is_at_a_frame(state[DRAINED]):
            state[DRAINED] = self._base_of(state[DRAINED])
        state.save()

    def _is_at_a_frame(self, position: int) -> bool:
        base = self._base_of(position)
        with self._path(base).open("rb") as file:
            frames = _read(file, base, base, position)
            return position == base or any(frame.end == position for frame in frames)

    def _bases(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.spool"))

    def _base_of(self, position: int) -> int:
        """Return the segment that a position is in."""
        return max(base for base in self._bases() if base <= position)

    def _path(self, base: int) -> Path:
        return self.folder / f"{base:020}.spool"

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _appending(self) -> Iterator[None]:
        """Keep other processes from appending."""
        fcntl.flock(self._locks["append"], fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._locks["append"], fcntl.LOCK_UN)


def folder(settings: Settings) -> Path:
    """Return where the spool of a stack is."""
    return settings.home / "ingestion" / "spool"


def _frame(records: Sequence[Record]) -> bytes:
    content = _encode(records)
    return HEADER.pack(len(content), zlib.crc32(content)) + content


def _write(descriptor: int, content: bytes, at: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _read(file: BinaryIO, base: int, position: int, end: int) -> Iterator[Frame]:
    """Yield a segment's frames from a position on, up to an end or the first that is damaged."""
    file.seek(position - base)
    while position < end:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        length, checksum = HEADER.unpack(header)
        content = file.read(length)
        if not length or len(content) < length or zlib.crc32(content) != checksum:
            return
        position += HEADER.size + length
        try:
            records = _decode(content)
        except msgspec.DecodeError:
            return
        yield Frame(records, position)
