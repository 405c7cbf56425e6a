"""Folders of caches: made, found, and removed when their hosts are gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

import pytest

from cloudburst.cache import folder as module
from cloudburst.cache.folder import (
    CacheFolder,
    OwnFolder,
    file_name,
    folders,
    memory_root,
    remove_dead,
    room_in,
)


def dies(folder: OwnFolder) -> None:
    """Its host is killed: nobody holds its lock any more."""
    folder._give_up()
    folder.close()


def test_a_folder_is_private_and_has_all_that_others_open(tmp_path: Path) -> None:
    folder = OwnFolder("h", tmp_path)

    assert folders(tmp_path) == {folder.path}
    assert folder.path.stat().st_mode & 0o777 == 0o700
    other = CacheFolder(folder.path)
    assert [*other.objects.iterdir(), *other.new.iterdir()] == []
    assert other.board.stat().st_size > 0

    other.close()
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_its_host_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    dead = OwnFolder("dead", tmp_path)
    alive = OwnFolder("alive", tmp_path)
    (dead.objects / "object").write_bytes(b"stale")
    dies(dead)

    new = OwnFolder("new", tmp_path)

    assert folders(tmp_path) == {alive.path, new.path}
    for folder in (alive, new):
        folder.remove()


def test_what_has_lost_its_owners_file_is_removed(tmp_path: Path) -> None:
    dead = OwnFolder("dead", tmp_path)
    (dead.path / "owner").unlink()

    remove_dead(tmp_path)

    assert folders(tmp_path) == set()
    dies(dead)


def test_a_folder_that_is_being_made_is_left_alone_for_a_while(tmp_path: Path) -> None:
    half_made = tmp_path / f".cloudburst-{os.getuid()}-h"
    half_made.mkdir()

    remove_dead(tmp_path)
    assert half_made.exists()
    assert folders(tmp_path) == set()
    os.utime(half_made, (0, 0))
    remove_dead(tmp_path)
    assert not half_made.exists()


def test_what_only_has_such_a_name_is_none_of_ours(tmp_path: Path) -> None:
    name = f"cloudburst-{os.getuid()}-x"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{name}y").write_text("a file")
    (tmp_path / f"cloudburst-{os.getuid() + 1}-z").mkdir()

    remove_dead(tmp_path)

    assert folders(tmp_path) == set()
    assert len(list(tmp_path.iterdir())) == 4


def test_folders_of_other_users_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make a folder of that name in /dev/shm, with links in it to files of others."""
    uid = os.getuid()
    (tmp_path / f"cloudburst-{uid + 1}-x").mkdir()

    monkeypatch.setattr(os, "getuid", lambda: uid + 1)

    assert folders(tmp_path) == set()


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    folder = OwnFolder("h", tmp_path)

    with pytest.raises(OSError, match=r"not empty|exists"):
        OwnFolder("h", tmp_path)

    assert [*tmp_path.iterdir()] == [folder.path]
    folder.remove()


def test_where_there_is_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OwnFolder("h", tmp_path / "missing")
    assert folders(tmp_path / "missing") == set()
    remove_dead(tmp_path / "missing")


def test_a_folder_that_is_gone_cannot_be_opened_and_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CacheFolder(tmp_path / "gone")
    (tmp_path / "gone").mkdir()
    with pytest.raises(FileNotFoundError):
        CacheFolder(tmp_path / "gone")
    assert list((tmp_path / "gone").iterdir()) == []


def test_changes_are_made_by_one_at_a_time(tmp_path: Path) -> None:
    folder = OwnFolder("h", tmp_path)
    other = CacheFolder(folder.path)

    with folder.changing() as alone:
        assert alone
        with other.changing() as second:
            assert not second  # it did not wait for ever
    with other.changing() as alone:
        assert alone

    other.close()
    folder.remove()


def test_threads_take_turns(tmp_path: Path) -> None:
    folder = OwnFolder("h", tmp_path)
    inside, most = 0, 0

    def change() -> None:
        nonlocal inside, most
        for _ in range(200):
            with folder.changing() as alone:
                assert alone
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder.remove()
    assert most == 1


def test_an_interrupted_change_gives_the_lock_back(tmp_path: Path) -> None:
    folder = OwnFolder("h", tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.changing():
        raise KeyboardInterrupt

    other = os.open(folder.path / "changes", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    with folder.changing() as alone:
        assert alone
    folder.remove()


def test_names_of_files_are_short_and_differ() -> None:
    names = {file_name(key) for key in ("", "a", "a/b", "../a", "k" * 1000, "\udce9", "ä")}
    assert len(names) == 7
    assert all(len(name) == 32 and name.isalnum() for name in names)


def test_where_shared_memory_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDBURST_CACHE_DIR", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert memory_root() == Path(module.tempfile.gettempdir())


def test_the_place_may_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLOUDBURST_CACHE_DIR", str(tmp_path))
    folder = OwnFolder("h")

    assert folder.path.parent == tmp_path
    assert folders() == {folder.path}
    folder.remove()
    assert folders() == set()


def test_a_part_of_the_room_is_left_to_others(tmp_path: Path) -> None:
    all_there_is = shutil.disk_usage(tmp_path)
    assert room_in(tmp_path, 1.0) <= 0 < room_in(tmp_path, 0.0) <= all_there_is.total
