"""Reading into shared memory: when there is none, and when the reading is interrupted."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from caching import SIZE, World, gets, value_of, zeros

from cloudburst.cache import loading as module
from cloudburst.cache.folder import CacheFolder
from cloudburst.cache.reader import CacheReader
from cloudburst.errors import InvocationCancelledError, KVSUnavailable
from cloudburst.mapping import map_file


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def fails(*_: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("what", ["posix_fallocate", "open"])
def test_where_there_is_no_memory_it_is_read_into_the_executors_own(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    world.put(k=zeros(), small=1)
    reader = world.reader()
    monkeypatch.setattr(module.os, what, fails)

    for _ in range(3):
        assert value_of(reader, "k").sum() == 0
        assert value_of(reader, "small") == 1
    monkeypatch.undo()

    world.settle()
    assert world.offered() == 0


def test_the_last_part_of_shared_memory_is_left_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(k=zeros(), small=1)
    reader = world.reader()
    monkeypatch.setattr(module, "room_in", lambda *_: 0)
    for _ in range(3):
        assert value_of(reader, "k").sum() == 0
        assert value_of(reader, "small") == 1
    assert world.offered() == 0


def test_a_keeper_that_has_too_much_to_do(world: World) -> None:
    reader = world.reader()
    most = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    for number in range(most + 50):
        world.put(**{f"k{number}": zeros()})
        value_of(reader, f"k{number}")
    assert world.offered() <= most + 1

    world.settle()

    assert world.offered() == 0
    assert 0 < world.cached() <= most + 1


def test_many_objects_that_are_read_together_are_all_cached(world: World) -> None:
    """Although few datagrams wait for the keeper at a time, and none is large."""
    names = [f"k{number}".ljust(200, "-") for number in range(100)]
    world.put(**{name: zeros() for name in names})
    world.reader().read(names)
    world.settle()

    assert (world.cached(), world.offered()) == (100, 0)


def test_a_keeper_that_has_ended(world: World) -> None:
    world.folder.offers.unlink()
    world.put(k=zeros())
    reader = world.reader()
    assert value_of(reader, "k").sum() == 0
    assert world.offered() == 0


def test_attempts_that_failed_leave_no_files(world: World) -> None:
    world.store.attempts = 3
    world.put(k=zeros(), other=zeros() + 1)
    reader = world.reader()

    found = [stored.load().sum() for stored in reader.read(["k", "other"]) if stored is not None]

    assert found == [0, SIZE]
    assert world.offered() == 2
    world.settle()
    assert (world.cached(), world.offered()) == (2, 0)


def test_a_store_that_fails_half_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, place: Any) -> Any:
        place(SIZE)[:5] = b"12345"
        place(SIZE)
        raise KVSUnavailable("lost")

    reader = world.reader()
    monkeypatch.setattr(world.store, "load", fail)
    with pytest.raises(KVSUnavailable):
        reader.read(["k"])
    assert world.offered() == 0


def test_threads_may_read_at_once(world: World) -> None:
    names = [f"k{number}" for number in range(8)]
    world.put(**{name: zeros() + number for number, name in enumerate(names)})
    reader = world.reader()
    wrong: list[object] = []

    def work() -> None:
        for _ in range(50):
            found = reader.read(names)
            sums = [int(stored.load()[0]) for stored in found if stored is not None]
            if sums != list(range(8)):
                wrong.append(sums)
            reader.changed(names[:2])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        world.keeper.turn()
        world.told.complete()
    assert wrong == []
    world.settle()
    assert world.offered() == 0


class Door:
    """Raises at a given instruction, or as soon after it as it may."""

    def __init__(self) -> None:
        self.open = True
        self.left = -1

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        before, self.open = self.open, False
        try:
            yield
        finally:
            self.open = before
            self.answer()

    def answer(self) -> None:
        if self.open and self.left == 0:
            self.left = -1
            raise InvocationCancelledError("run r was cancelled")

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        if "/cloudburst/cache/" not in frame.f_code.co_filename:
            return None
        if frame.f_code.co_name == "__del__":
            return None  # as the doorbell spares it
        if event == "opcode" and self.left > 0:
            self.left -= 1
            self.answer()
        return self.trace


@pytest.mark.parametrize("step", [1])
def test_interrupted_anywhere_it_leaves_nothing_behind(tmp_path: Path, step: int) -> None:
    """A cancellation is raised at every instruction of a read in turn."""
    world, door = World(tmp_path), Door()
    world.put(k=zeros(), small=1, new=zeros())
    folder = CacheFolder(world.folder.path)
    reader = CacheReader(world.store, folder, "interrupted", door.undisturbed)
    value_of(reader, "small")
    files = len(list(Path("/dev/fd").iterdir()))
    interrupted, number = 0, 0
    while interrupted == number:
        number += step
        world.told.changed("k", "new")
        world.settle()
        value_of(world.reader(), "k")
        world.settle()
        world.readers.pop().close()
        before = world.offered()
        door.left = number
        sys.settrace(door.trace)
        try:
            reader.read(["k", "new", "small"], fresh=number % 2 == 0)
        except InvocationCancelledError:
            interrupted += step
        finally:
            sys.settrace(None)
        door.left = -1
        with folder.changing() as alone:
            assert alone
        world.settle()
        assert world.offered() == before == 0
        assert len(list(Path("/dev/fd").iterdir())) == files
    assert interrupted > 500
    (k, new) = (value_of(reader, name) for name in ("k", "new"))
    assert k.sum() == new.sum() == 0
    reader.close()
    world.close()


def test_a_file_as_memory_stays_when_the_file_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content" * 1000)
    fd = os.open(file, os.O_RDWR)
    reads, writes = map_file(fd, 7000), map_file(fd, 7000, writable=True)
    os.close(fd)
    file.unlink()

    assert reads.readonly
    assert bytes(reads[:7]) == b"content"
    writes[:7] = b"CONTENT"
    assert bytes(reads[:14]) == b"CONTENTcontent"


def test_what_cannot_be_mapped(tmp_path: Path) -> None:
    reads, writes = socket.socketpair()
    with pytest.raises(OSError, match=r"No such device|Operation not supported|denied"):
        map_file(reads.fileno(), 4096)
    reads.close()
    writes.close()


def test_small_objects_are_not_mapped_by_the_loader(world: World) -> None:
    world.put(k=b"x" * 1000)
    reader = world.reader()
    value_of(reader, "k")
    assert (world.offered(), gets(world.store)) == (0, 1)
