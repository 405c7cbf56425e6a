"""The board: what executors say they run, as their host reads it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cloudburst.executor.board import SLOT, Board, writer_of


def test_nothing_stands_on_a_new_board() -> None:
    board = Board.create(3)

    assert [board.read(slot) for slot in range(3)] == ["", "", ""]
    assert not board.shows(0, "run-1")
    board.close()


def test_what_is_written_stands_in_that_slot_alone() -> None:
    board = Board.create(3)
    write = board.writer(1)

    write("run-1")

    assert [board.read(slot) for slot in range(3)] == ["", "run-1", ""]
    assert board.shows(1, "run-1")
    assert not board.shows(1, "run-10")
    assert not board.shows(1, "run")
    assert not board.shows(2, "run-1")
    board.close()


def test_a_shorter_id_leaves_nothing_of_a_longer_one() -> None:
    board = Board.create(1)
    write = board.writer(0)

    write("a-much-longer-id-17")
    write("run-1")
    assert board.read(0) == "run-1"
    write("")

    assert board.read(0) == ""
    assert board.shows(0, "")
    board.close()


def test_taking_wipes_the_slot() -> None:
    board = Board.create(2)
    board.writer(0)("run-1")
    board.writer(1)("run-2")

    assert board.take(0) == "run-1"

    assert board.read(0) == ""
    assert board.read(1) == "run-2"
    board.close()


@pytest.mark.parametrize(
    "run_id", ["x" * (SLOT - 1), "x" * 1000, "é" * 500, "\ud800" * 77, "\0", "a\0b", "\N{SNOWMAN}"]
)
def test_odd_and_long_ids_are_recognised(run_id: str) -> None:
    board = Board.create(3)
    board.writer(1)(run_id)

    assert board.shows(1, run_id)
    assert not board.shows(1, "y" + run_id)
    assert isinstance(board.read(1), str)
    assert (board.read(0), board.read(2)) == ("", "")
    board.close()


def test_ids_that_differ_only_beyond_the_slot_are_taken_for_one() -> None:
    board = Board.create(1)
    board.writer(0)("x" * SLOT + "1")

    assert board.shows(0, "x" * SLOT + "2")
    board.close()


@pytest.mark.parametrize("slot", [-1, 2])
def test_there_are_only_so_many_slots(slot: int) -> None:
    board = Board.create(2)

    for use in (board.writer, board.read, board.take):
        with pytest.raises(IndexError, match=f"2 slots has no slot {slot}"):
            use(slot)
    board.close()


def test_a_fork_writes_to_the_same_board() -> None:
    board = Board.create(2)
    pid = os.fork()
    if pid == 0:
        board.writer(1)("run-1")
        os._exit(0)
    os.waitpid(pid, 0)

    assert board.read(1) == "run-1"
    board.close()


def test_what_a_killed_process_wrote_can_be_read() -> None:
    board = Board.create(1)
    write = board.writer(0)
    pid = os.fork()
    if pid == 0:
        write("run-1")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)

    assert board.take(0) == "run-1"
    board.close()


def test_a_fresh_interpreter_writes_by_the_descriptor_it_inherited() -> None:
    board = Board.create(2)
    code = "import sys; from cloudburst.executor.board import writer_of\n"
    code += "writer_of(int(sys.argv[1]), 1)('run-1')"

    fd = board.fileno()
    subprocess.run([sys.executable, "-c", code, str(fd)], pass_fds=[fd], check=True)

    assert board.read(1) == "run-1"
    board.close()


def test_without_a_board_the_writer_says_nothing() -> None:
    for board_fd, slot in [(-1, -1), (-1, 3), (0, -1)]:
        writer_of(board_fd, slot)("run-1")


def test_a_descriptor_of_something_else_is_refused() -> None:
    reading, writing = os.pipe()

    with pytest.raises(OSError):  # noqa: PT011 (the words are the system's)
        writer_of(reading, 0)
    os.close(writing)
    os.close(reading)


def test_an_empty_file_is_no_board() -> None:
    fd = os.memfd_create("empty") if hasattr(os, "memfd_create") else os.open("/dev/null", 0)

    with pytest.raises(OSError, match="not of a board"):
        Board.open(fd)
    os.close(fd)


def test_closing_twice_is_harmless() -> None:
    board = Board.create(1)
    board.close()
    board.close()


def test_writing_takes_well_under_a_microsecond() -> None:
    board = Board.create(1)
    write = board.writer(0)
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1000):
            write("0123456789abcdef-17")
        best = min(best, (time.perf_counter() - began) / 1000)

    print(f"{best * 1e6:.2f} us a write")
    assert best < 1e-6
    board.close()
