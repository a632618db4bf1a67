"""The spool keeps what it was given, in order, whatever ends in the middle of a write."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.api.ingestion import spool as spools
from millrace.api.ingestion.spool import DamagedError, Record, Spool, SpoolError
from millrace.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def request(number: int, size: int = 10) -> list[Record]:
    """A request of two records."""
    return [
        Record("events", b"%d" % number, b"%d:" % number + b"x" * size, [("source", b"\xff\x00")]),
        Record("other", b"", b"", None),
    ]


def waiting_in(spool: Spool) -> list[list[Record]]:
    return [frame.records for frame in spool.frames()]


def segments(settings: Settings) -> list[Path]:
    return sorted(spools.folder(settings).glob("*.spool"))


def test_what_is_appended_is_there_in_order_for_whoever_opens_it(settings: Settings) -> None:
    first, second = Spool(settings), Spool(settings)
    assert first.is_empty
    first.append([request(1), request(2)])
    assert not second.is_empty
    second.append([request(3)])
    first.append([request(4)])
    first.close()
    second.close()
    assert waiting_in(Spool(settings)) == [request(n) for n in (1, 2, 3, 4)]


def test_a_frame_that_is_half_there_is_cut_wherever_it_ends(
    settings: Settings, tmp_path: Path
) -> None:
    spool = Spool(settings)
    spool.append([request(1)])
    whole = segments(settings)[0].stat().st_size
    spool.append([request(2)])
    spool.close()
    end = segments(settings)[0].stat().st_size
    for length in range(whole, end):
        copy = Settings(home=tmp_path / str(length))
        shutil.copytree(spools.folder(settings), spools.folder(copy))
        with segments(copy)[0].open("r+b") as file:
            file.truncate(length)
        again = Spool(copy)
        assert waiting_in(again) == [request(1)]
        again.append([request(3)])
        assert waiting_in(again) == [request(1), request(3)]
        again.close()


@pytest.mark.parametrize("rest", [bytes(4096), b"\x10\x00\x00\x00garbage"])
def test_what_a_process_left_half_written_is_cut_by_the_next(
    settings: Settings, rest: bytes
) -> None:
    spool = Spool(settings)
    spool.append([request(1)])
    with segments(settings)[0].open("ab") as file:
        file.write(rest)
    other = Spool(settings)
    other.append([request(2)])
    assert waiting_in(spool) == [request(1), request(2)]
    spool.close()
    other.close()
    assert waiting_in(Spool(settings)) == [request(1), request(2)]


def test_a_machine_that_lost_its_memory_finds_everything_again(settings: Settings) -> None:
    spool = Spool(settings)
    spool.append([request(1), request(2)])
    spool.close()
    (spools.folder(settings) / "state").unlink()
    assert waiting_in(Spool(settings)) == [request(1), request(2)]


def test_what_is_drained_comes_no_more_and_leaves_the_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 1000)
    spool = Spool(settings)
    for number in range(50):
        spool.append([request(number, 100)])
    assert len(segments(settings)) > 3
    frames = list(spool.frames())
    assert [frame.records for frame in frames] == [request(n, 100) for n in range(50)]
    spool.drained(frames[29].end, 0)
    other = Spool(settings)
    assert waiting_in(other) == [request(n, 100) for n in range(30, 50)]
    other.drained(frames[-1].end, 0)
    assert spool.is_empty
    other.tidy()
    assert [path.stat().st_size for path in segments(settings)] == [0]
    spool.append([request(60)])
    assert waiting_in(other) == [request(60)]
    spool.close()
    other.close()
    assert waiting_in(Spool(settings)) == [request(60)]


def test_one_at_a_time_drains(settings: Settings) -> None:
    first, second = Spool(settings), Spool(settings)
    assert first.begin_draining()
    assert not second.begin_draining()
    first.close()
    assert second.begin_draining()


def test_a_full_spool_takes_nothing_and_loses_nothing(settings: Settings) -> None:
    spool = Spool(settings.model_copy(update={"ingestion_spool_bytes": 10_000}))
    kept = 0
    with pytest.raises(SpoolError, match="full"):  # noqa: PT012
        while True:
            spool.append([request(kept, 500)])
            kept += 1
    assert waiting_in(spool) == [request(n, 500) for n in range(kept)]
    assert kept > 10
    spool.drained(list(spool.frames())[4].end, 0)
    spool.append([request(kept, 500)])


def test_a_full_disk_takes_nothing_and_loses_nothing(settings: Settings, small_disk: Path) -> None:
    settings = settings.model_copy(update={"home": small_disk})
    spool = Spool(settings)
    kept = 0
    with pytest.raises(SpoolError, match="No space left"):  # noqa: PT012
        while True:
            spool.append([request(kept, 50_000)])
            kept += 1
    with pytest.raises(SpoolError, match="No space left"):
        spool.append([request(kept, 500_000)])
    spool.append([request(kept, 10)])
    assert waiting_in(spool) == [*(request(n, 50_000) for n in range(kept)), request(kept, 10)]
    spool.drained(list(spool.frames())[-1].end, 0)
    spool.tidy()
    spool.append([request(1, 500_000)])
    spool.close()
    assert waiting_in(Spool(settings)) == [request(1, 500_000)]


def test_a_damaged_segment_is_kept_aside_and_the_others_go_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 500)
    spool = Spool(settings)
    for number in range(20):
        spool.append([request(number, 100)])
    first = segments(settings)[0]
    content = bytearray(first.read_bytes())
    content[60] ^= 1
    first.write_bytes(content)
    with pytest.raises(DamagedError, match=r"from byte 0"):
        list(spool.frames())
    aside = spool.skip_damaged()
    assert aside.read_bytes() == content
    left = waiting_in(spool)
    assert left == [request(n, 100) for n in range(20 - len(left), 20)]
    assert len(left) >= 15


def test_damage_to_the_last_segment_is_kept_aside_when_it_is_opened(settings: Settings) -> None:
    spool = Spool(settings)
    spool.append([request(1), request(2), request(3)])
    ends = [frame.end for frame in spool.frames()]
    spool.close()
    segment = segments(settings)[0]
    content = bytearray(segment.read_bytes())
    content[ends[0] + 20] ^= 1
    segment.write_bytes(content)
    assert waiting_in(Spool(settings)) == [request(1)]
    (aside,) = spools.folder(settings).glob("*.damaged")
    assert aside.read_bytes() == content[ends[0] :]


def append_for_ever(home: Path, worker: int, pipe: multiprocessing.connection.Connection) -> None:
    spool = Spool(Settings(home=home))
    for number in range(1_000_000):
        record = Record("events", b"%d" % worker, b"%d" % number, None)
        spool.append([[record] * 3])
        pipe.send(number)


def test_processes_killed_while_they_append_lose_nothing_acknowledged(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    acknowledged: dict[int, int] = {}
    witness = Spool(settings)  # so that nobody is alone, and nothing is looked at again
    for worker in range(4):
        ours, theirs = context.Pipe()
        process = context.Process(target=append_for_ever, args=(settings.home, worker, theirs))
        process.start()
        while ours.recv() < 20 + worker:
            pass
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        acknowledged[worker] = 20 + worker
    kept = waiting_in(witness)
    witness.close()
    assert waiting_in(Spool(settings)) == kept
    for worker, last in acknowledged.items():
        numbers = [int(frame[0].value) for frame in kept if frame[0].key == b"%d" % worker]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > last


class Killed(BaseException):
    """Stands for kill -9: no handler catches it."""


@pytest.mark.parametrize("is_alone", [True, False])
@pytest.mark.parametrize("moment", range(40))
def test_whoever_is_killed_at_a_synchronisation_leaves_it_whole(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: int, is_alone: bool
) -> None:
    monkeypatch.setattr(spools, "SEGMENT_BYTES", 400)
    spool, witness = Spool(settings), Spool(settings)
    synchronise, left = os.fsync, moment

    def die(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        synchronise(descriptor)

    acknowledged, drained = 0, 0
    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(os, "fsync", die)
        for number in range(12):
            spool.append([request(number, 100)])
            acknowledged = number + 1
            if number == 6:
                spool.drained(list(spool.frames())[-1].end, 0)
                drained = number + 1
                spool.tidy()
    if is_alone:
        witness.close()
    spool.close()
    other = Spool(settings)
    other.append([request(100)])
    kept = waiting_in(other)
    assert kept[-1] == request(100)
    between = kept[:-1]
    assert between == [request(n, 100) for n in range(drained, drained + len(between))]
    assert drained + len(between) >= acknowledged


def test_a_spool_of_another_format_is_not_touched(settings: Settings) -> None:
    spool = Spool(settings)
    state = spools.folder(settings) / "state"
    with state.open("r+b") as file:
        file.write(b"\x63")
    with pytest.raises(SpoolError, match="version"):
        Spool(settings)
    spool.close()
