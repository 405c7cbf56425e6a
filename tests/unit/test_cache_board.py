"""What a cache's keeper and its readers write for each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudburst.cache.board import CacheBoard, clock, make_board


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[tuple[CacheBoard, CacheBoard]]:
    """Two views of one board."""
    make_board(tmp_path / "board")
    views = CacheBoard(tmp_path / "board"), CacheBoard(tmp_path / "board")
    yield views
    for view in views:
        view.close()


def test_nothing_is_trusted_at_first(boards: tuple[CacheBoard, CacheBoard]) -> None:
    assert not boards[0].is_trusted


def test_all_see_till_when_it_is_trusted(boards: tuple[CacheBoard, CacheBoard]) -> None:
    keeper, reader = boards

    keeper.trust(clock() + 100.0)
    assert reader.is_trusted
    keeper.trust(clock() - 0.001)
    assert not reader.is_trusted
    keeper.trust(0.0)
    assert not reader.is_trusted


def test_no_generation_comes_back(boards: tuple[CacheBoard, CacheBoard]) -> None:
    one, other = boards
    seen = {one.generation}

    for board in (one, other) * 100:
        board.advance()
        assert one.generation == other.generation
        seen.add(one.generation)

    assert len(seen) == 201


def test_a_key_is_remembered_by_the_moment_it_was_written(
    boards: tuple[CacheBoard, CacheBoard],
) -> None:
    one, other = boards
    assert other.written("key") == 0.0

    before = clock()
    one.wrote("key")

    assert before <= other.written("key") <= clock()
    assert other.written("kez") == 0.0


def test_keys_are_any_text(boards: tuple[CacheBoard, CacheBoard]) -> None:
    for key in ("", "ä", "\udce9", "k" * 1000):
        boards[0].wrote(key)
        assert boards[1].written(key) > 0.0


def test_a_board_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CacheBoard(tmp_path / "board")


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    make_board(tmp_path / "board")
    board = CacheBoard(tmp_path / "board")
    board.close()
    board.close()
