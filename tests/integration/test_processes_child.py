"""Parents and children: each learns of the other's end, and nobody is left behind."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from watching import next_line, script, wait_gone, wait_until

from cloudburst.child import Child, start
from cloudburst.errors import ClusterError

PREAMBLE = """
import argparse, os, signal, sys, time
from cloudburst.life import Life
flags = argparse.ArgumentParser()
flags.add_argument("--life", action="store_true")
flags.add_argument("--ready-fd", type=int)
flags = flags.parse_args()
life = Life(stdin=flags.life, ready_fd=flags.ready_fd)
def wait_for_end():
    import select
    poll = select.poll()
    poll.register(life.fileno(), select.POLLIN)
    while not life.ended():
        poll.poll()
"""
OBEDIENT = "life.ready({'pid': os.getpid()}); wait_for_end()"
DEAF = "life.ready(); time.sleep(60)"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); life.ready(); time.sleep(60)"


def child_of(code: str) -> Child:
    return start("child", ["-c", PREAMBLE + code])


def open_descriptors() -> int:
    return psutil.Process().num_fds()


@pytest.fixture
def obedient() -> Iterator[Child]:
    child = child_of(OBEDIENT)
    child.wait_ready()
    yield child
    child.stop(1.0)


def test_child_says_that_it_is_ready() -> None:
    child = child_of(OBEDIENT)

    assert child.wait_ready() == {"pid": child.pid}
    assert child.poll() is None
    child.stop(1.0)


def test_child_that_cannot_get_ready_says_why() -> None:
    child = child_of("life.failed('the moon is full')")

    with pytest.raises(ClusterError, match="the child cannot start: the moon is full"):
        child.wait_ready()
    child.stop(1.0)


def test_what_fails_after_it_was_ready_is_not_for_the_parent_to_say() -> None:
    child = child_of("life.ready(1); sys.exit(int(life.failed('too late')))")

    assert child.wait_ready() == 1
    assert child.wait(5.0) == 0
    child.stop(1.0)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"SIGKILL \(signal 9\)"),
    ],
)
def test_child_that_dies_before_it_is_ready(code: str, how: str) -> None:
    child = child_of(code)

    with pytest.raises(ClusterError, match=f"the child died at its start: {how}"):
        child.wait_ready()
    child.stop(1.0)


def test_child_that_never_gets_ready() -> None:
    child = child_of("wait_for_end()")

    with pytest.raises(ClusterError, match=r"did not get ready within 0\.3 seconds"):
        child.wait_ready(0.3)
    child.stop(1.0)
    assert child.poll() == 0


def test_interpreter_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = open_descriptors()

    with pytest.raises(ClusterError, match=r"cannot start the child: .*nowhere"):
        child_of(OBEDIENT)
    assert open_descriptors() == before


def test_descriptors_are_given_back() -> None:
    before = open_descriptors()

    child = child_of(OBEDIENT)
    child.wait_ready()
    child.stop(1.0)

    assert open_descriptors() == before


def test_child_that_is_let_go_ends_in_order(obedient: Child) -> None:
    obedient.let_go()

    assert obedient.wait(5.0) == 0
    assert obedient.ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_means_the_same_as_being_let_go(obedient: Child, number: signal.Signals) -> None:
    os.kill(obedient.pid, number)

    assert obedient.wait(5.0) == 0


def test_signals_are_counted_and_told_from_the_parents_end(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    child = child_of(
        "seen = []\n"
        "def note():\n"
        "    seen.append((life.signals, life.parted))\n"
        f"    open({str(notes)!r}, 'a').write('.')\n"
        "life.ready(); wait_for_end(); note()\n"
        "while life.signals < 2: life.ended() or time.sleep(0.001)\n"
        "note()\n"
        "while not life.parted: life.ended() or time.sleep(0.001)\n"
        "note(); sys.exit(0 if seen == [(1, False), (2, False), (2, True)] else 3)"
    )
    child.wait_ready()

    for number, so_far in [(signal.SIGTERM, "."), (signal.SIGINT, "..")]:
        os.kill(child.pid, number)
        wait_until(lambda: notes.exists() and notes.read_text() == so_far, "noted")  # noqa: B023
    child.let_go()

    assert child.wait(5.0) == 0
    child.stop(1.0)


def test_deaf_child_is_killed() -> None:
    child = child_of(DEAF)
    child.wait_ready()
    began = time.monotonic()

    child.stop(0.2)

    # Its handler only notes a SIGTERM, so SIGKILL it was, a quarter of the grace later.
    assert child.poll() == -signal.SIGKILL
    assert 0.25 <= time.monotonic() - began < 2.0


def test_child_that_ignores_sigterm_is_killed() -> None:
    child = child_of(STUBBORN)
    child.wait_ready()

    child.stop(0.1)

    assert child.poll() == -signal.SIGKILL


def test_child_that_does_not_look_is_ended_by_its_guard(tmp_path: Path) -> None:
    last = tmp_path / "last"
    child = child_of(
        f"life.guard(0.1, lambda: open({str(last)!r}, 'w').close()); life.ready(); time.sleep(60)"
    )
    child.wait_ready()

    child.let_go()

    assert child.wait(5.0) == 1
    assert last.exists()


def test_guard_does_not_disturb_a_child_that_ends_in_time() -> None:
    child = child_of("life.guard(30.0, lambda: None);" + OBEDIENT)
    child.wait_ready()

    child.let_go()

    assert child.wait(5.0) == 0


def test_child_knows_whether_it_was_let_go_or_orphaned(tmp_path: Path) -> None:
    last = tmp_path / "last"
    code = (
        "life.ready(os.getpid()); wait_for_end()\n"
        f"with open({str(last)!r}, 'w') as file: file.write(str(life.orphaned()))"
    )
    let_go, told = child_of(code), child_of(code)
    let_go.wait_ready()
    told.wait_ready()

    let_go.let_go()
    assert let_go.wait(5.0) == 0
    assert last.read_text() == "False"
    last.unlink()
    os.kill(told.pid, signal.SIGTERM)
    assert told.wait(5.0) == 0
    let_go.stop(1.0)
    told.stop(1.0)
    assert last.read_text() == "False"
    last.unlink()

    parent = script(
        "import sys, time; from cloudburst.child import start\n"
        "print(start('child', ['-c', sys.argv[1]]).wait_ready()); time.sleep(60)",
        PREAMBLE + code,
    )
    orphan = psutil.Process(int(next_line(parent)))
    parent.kill()
    parent.communicate()
    wait_gone([orphan])
    assert last.read_text() == "True"


def test_stopping_twice_is_harmless(obedient: Child) -> None:
    obedient.stop(1.0)
    obedient.stop(1.0)

    assert obedient.poll() == 0


def test_death_of_the_child_is_seen(obedient: Child) -> None:
    assert not obedient.ended()

    os.kill(obedient.pid, signal.SIGKILL)

    assert obedient.wait(5.0) == -signal.SIGKILL
    assert obedient.ended()
    assert obedient.how_it_ended() == "SIGKILL (signal 9)"


def test_siblings_do_not_keep_each_other_alive(obedient: Child) -> None:
    second = child_of(OBEDIENT)
    second.wait_ready()

    obedient.let_go()

    assert obedient.wait(5.0) == 0
    assert second.poll() is None
    second.stop(1.0)


def test_fork_of_the_parent_does_not_keep_the_child_alive(obedient: Child) -> None:
    hold, release = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.close(release)
        os.read(hold, 1)
        os._exit(0)

    obedient.let_go()

    assert obedient.wait(5.0) == 0
    os.close(hold)
    os.close(release)
    assert os.waitpid(fork, 0)[1] == 0


def test_child_has_a_session_of_its_own(obedient: Child) -> None:
    assert os.getsid(obedient.pid) == obedient.pid


def test_grandchildren_end_when_the_parent_is_killed() -> None:
    parent = script(
        "import sys; from cloudburst.child import start; import time\n"
        "child = start('child', ['-c', sys.argv[1]]); print(child.wait_ready()['pid'])\n"
        "time.sleep(60)",
        PREAMBLE + OBEDIENT,
    )
    child = psutil.Process(int(next_line(parent)))

    parent.kill()
    parent.communicate()

    wait_gone([child], 5.0)


def test_child_imports_what_its_parent_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here_42.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    child = child_of("import only_here_42; life.ready(only_here_42.answer); wait_for_end()")

    assert child.wait_ready() == 42
    child.stop(1.0)


def test_child_works_in_its_parents_directory() -> None:
    child = child_of("life.ready([os.getcwd(), sys.stdin.read()]); wait_for_end()")

    # Its stdin is empty: the pipe has been moved out of the way of user code.
    assert child.wait_ready() == [str(Path.cwd()), ""]
    child.stop(1.0)


def test_pythonpath_leaves_out_the_interpreters_own_places() -> None:
    child = child_of("life.ready(os.environ['PYTHONPATH']); wait_for_end()")

    assert str(Path(os.__file__).parent) not in child.wait_ready().split(os.pathsep)
    child.stop(1.0)
