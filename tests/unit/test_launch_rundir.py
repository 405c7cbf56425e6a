"""Run directories: private, short enough, and never left behind."""

import fcntl
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudburst import rundir
from cloudburst.errors import ClusterError
from cloudburst.launch import local_address
from cloudburst.rundir import RunDir, new_directory, sweep_stale


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root of run directories that is this test's own."""
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def held(root: Path) -> Iterator[RunDir]:
    directory = RunDir(new_directory())
    yield directory
    directory.close()


def abandon(directory: RunDir) -> None:
    """What the kernel does when a supervisor is killed: its lock is free, its files stay."""
    os.close(directory._lock)
    directory._lock = -1


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def nothing_runs(directory: Path) -> None:
    """A sweep that finds no store."""
    assert directory.is_dir()


def test_the_root_is_made_private(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / "deeper" / "still"))

    made = rundir.prepare_root()

    assert made == root / "deeper" / "still"
    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_root_that_others_may_enter_is_refused(root: Path, mode: int) -> None:
    root.chmod(mode)

    with pytest.raises(ClusterError, match=r"can be entered by others; chmod 700 it"):
        new_directory()


def test_a_root_of_somebody_else_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() == 0:
        os.chown(root, 12345, -1)
    else:
        monkeypatch.setenv("CLOUDBURST_RUN_DIR", "/")

    with pytest.raises(ClusterError, match=r"belongs to user \d+, not to you"):
        new_directory()
    with pytest.raises(ClusterError, match=r"belongs to user"):
        local_address()


def test_a_link_in_place_of_the_root_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "link").symlink_to(root)
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / "link"))

    with pytest.raises(ClusterError, match=r"is not a directory, but a link"):
        new_directory()


def test_a_file_in_place_of_the_root_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").touch()
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / "file"))

    with pytest.raises(ClusterError, match=r"cannot make the run directory"):
        new_directory()


def test_a_path_too_long_for_sockets_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = len(str(root)) + len("/") + len("/01234567/c-0123456789abcdef")
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / ("n" * (100 - fixed))))
    assert new_directory().parent.is_dir()

    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / ("n" * (101 - fixed))))
    with pytest.raises(ClusterError, match=r"paths of 101 bytes, and 100 are allowed.*RUN_DIR"):
        new_directory()


def test_length_counts_bytes_and_not_characters(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / ("ü" * 30)))

    with pytest.raises(ClusterError, match=r"bytes, and 100 are allowed"):
        new_directory()


def test_a_directory_is_private_held_and_removed(root: Path) -> None:
    directory = RunDir(new_directory())

    assert re.fullmatch("[0-9a-f]{8}", directory.path.name)
    assert directory.path.stat().st_mode & 0o777 == 0o700
    assert rundir.is_held(directory.path)
    assert names(root) == [directory.path.name]

    (directory.path / "socket").touch()
    directory.close()
    directory.close()

    assert names(root) == []
    assert not rundir.is_held(directory.path)


def test_a_directory_cannot_be_claimed_twice(held: RunDir) -> None:
    with pytest.raises(FileExistsError):
        RunDir(held.path)

    assert rundir.is_held(held.path)


def test_sweeping_removes_only_what_is_nobodys(root: Path, held: RunDir) -> None:
    stale = RunDir(new_directory())
    (stale.path / "deep").mkdir()
    (stale.path / "deep" / "file").touch()
    abandon(stale)
    without_lock = root / "0123abcd"
    without_lock.mkdir()
    (root / "notes").mkdir()
    swept: list[Path] = []

    sweep_stale(swept.append)

    assert sorted(swept) == sorted([stale.path, without_lock])
    assert names(root) == sorted([held.path.name, "notes"])


def test_sweeping_waits_until_a_new_directory_is_locked(root: Path) -> None:
    """Between its making and its locking a directory looks like a stale one."""
    stop = threading.Event()

    def sweep_on_and_on() -> None:
        while not stop.is_set():
            sweep_stale(nothing_runs)

    sweeper = threading.Thread(target=sweep_on_and_on)
    sweeper.start()
    try:
        for _ in range(100):
            directory = RunDir(new_directory())
            assert rundir.is_held(directory.path)
            assert directory.path.exists()
            directory.close()
    finally:
        stop.set()
        sweeper.join()
    assert names(root) == []


def test_nobody_is_found_where_nobody_shares(root: Path, held: RunDir) -> None:
    assert local_address() is None


def test_looking_for_a_cluster_makes_no_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBURST_RUN_DIR", str(root / "none"))

    assert local_address() is None
    assert names(root) == []


def test_a_published_cluster_is_found_until_it_withdraws(root: Path, held: RunDir) -> None:
    held.publish("ipc://somewhere")
    assert local_address() == "ipc://somewhere"

    held.withdraw()
    assert local_address() is None
    assert names(root) == [held.path.name]


def test_a_published_cluster_whose_supervisor_died_is_not_found(root: Path) -> None:
    dead = RunDir(new_directory())
    dead.publish("ipc://dead")
    abandon(dead)

    assert local_address() is None

    sweep_stale(nothing_runs)
    assert names(root) == []


def test_a_later_cluster_is_not_withdrawn_by_an_earlier_one(root: Path, held: RunDir) -> None:
    earlier = RunDir(new_directory())
    earlier.publish("ipc://earlier")
    held.publish("ipc://later")

    earlier.close()

    assert local_address() == "ipc://later"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"directory": 3}', '{"address": "ipc://x"}'])
def test_a_damaged_note_counts_as_none(root: Path, held: RunDir, content: str) -> None:
    (root / "shared.json").write_text(content)

    assert local_address() is None

    held.publish("ipc://fresh")
    assert local_address() == "ipc://fresh"


def test_two_who_look_at_once_do_not_take_each_other_for_the_supervisor(root: Path) -> None:
    dead = RunDir(new_directory())
    dead.publish("ipc://dead")
    abandon(dead)
    with (dead.path / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)

        assert local_address() is None

    sweep_stale(nothing_runs)


def test_an_orphan_is_cleared_by_those_who_outlive_its_supervisor(root: Path) -> None:
    orphan = RunDir(new_directory())
    orphan.publish("ipc://orphan")
    swept: list[Path] = []

    rundir.clear_orphan(orphan.path, swept.append)
    assert orphan.path.exists()
    assert swept == []

    abandon(orphan)
    rundir.clear_orphan(orphan.path, swept.append)
    rundir.clear_orphan(orphan.path, swept.append)

    assert swept == [orphan.path]
    assert names(root) == []


def test_an_orphan_is_cleared_though_its_lock_is_freed_a_moment_late(root: Path) -> None:
    orphan = RunDir(new_directory())
    asked = threading.Event()

    def die() -> None:
        asked.wait()
        abandon(orphan)

    supervisor = threading.Thread(target=die)
    supervisor.start()
    asked.set()
    rundir.clear_orphan(orphan.path, nothing_runs, patience=10.0)
    supervisor.join()

    assert names(root) == []


def test_only_one_at_a_time_starts_the_shared_cluster(root: Path) -> None:
    entered: list[int] = []
    inside = threading.Semaphore(1)

    def start(number: int) -> None:
        for _ in range(30):
            with rundir.starting_shared():
                assert inside.acquire(blocking=False), "two are inside"
                entered.append(number)
                inside.release()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(entered) == 120
    assert names(root) == []


def test_the_note_holds_what_it_says(root: Path, held: RunDir) -> None:
    held.publish("ipc://here")

    note = json.loads((root / "shared.json").read_text())

    assert note == {"directory": str(held.path), "address": "ipc://here"}
    assert names(held.path) == ["lock"]
