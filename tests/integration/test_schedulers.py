"""A scheduler is replaced, by itself or by another, and nothing that was accepted is lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from gates import Gate, wait_at
from hands import ByHand, Process
from watching import wait_until

from cloudburst import CloudburstConnection, SchedulerUnavailable
from cloudburst.calls.parking import LARGE
from cloudburst.core.ids import parked_name


@pytest.fixture
def gate(run_dir: Path) -> Gate:
    return Gate(run_dir / "gate")


def kill(process: Process) -> None:
    process.kill()
    process.wait(10)


def test_a_second_one_refuses_to_start(by_hand: ByHand, capfd: pytest.CaptureFixture[str]) -> None:
    by_hand.scheduler("first")
    with CloudburstConnection(by_hand.address("first")) as connection:
        second = by_hand.scheduler("second")

        assert second.wait(15) == 1
        said = f"another scheduler uses this store, at {by_hand.address('first')}"
        assert said in capfd.readouterr().err
        assert connection.list() == []


def test_one_that_was_stopped_ends_if_another_took_over(by_hand: ByHand, gate: Gate) -> None:
    """And what the first had accepted, the second carries on."""
    first = by_hand.scheduler("first")
    by_hand.host("first")
    CloudburstConnection(by_hand.address("first")).close()  # it may take its time to start
    with CloudburstConnection(by_hand.address("first"), timeout=1.0) as connection:
        run = connection.register(wait_at, "wait")(gate.path)
        gate.wait_for_arrival()
        connection.flush()
        first.send_signal(signal.SIGSTOP)
        by_hand.scheduler("second")

        # The second one waits for the lease of the first to end.
        with CloudburstConnection(by_hand.address("second"), timeout=15.0) as other:
            first.send_signal(signal.SIGCONT)
            assert first.wait(10) == 1
            assert other.list() == ["wait"]
            gate.open()
            assert other.future(run.obj_id).get(15) == "gate"
            # Nobody is left who could tell this one.
            with pytest.raises(SchedulerUnavailable):
                connection.register_dag("any", ["wait"], [])


def test_one_that_was_killed_is_started_again_where_it_was(by_hand: ByHand) -> None:
    kill_me = by_hand.scheduler("only")
    by_hand.host("only", executors=2)
    with CloudburstConnection(by_hand.address("only")) as connection:
        increment = connection.register(lambda _, n: n + 1, "increment", max_retries=2)
        assert increment(1).get(10) == 2
        futures = [increment(n) for n in range(300)]
        connection.flush()
        kill(kill_me)
        by_hand.scheduler("only")

        assert [future.get(20) for future in futures] == list(range(1, 301))
        assert connection.list() == ["increment"]
        wait_until(lambda: connection.status().running == 0, "all has ended")


def test_what_was_not_accepted_is_sent_again(by_hand: ByHand) -> None:
    """The calls are made while there is no scheduler at all."""
    kill_me = by_hand.scheduler("only")
    by_hand.host("only")
    with CloudburstConnection(by_hand.address("only")) as connection:
        increment = connection.register(lambda _, n: n + 1, "increment")
        kill(kill_me)
        futures = [increment(n) for n in range(50)]
        by_hand.scheduler("only")

        assert [future.get(20) for future in futures] == list(range(1, 51))
        connection.flush()


def test_a_time_limit_goes_on_through_a_restart(by_hand: ByHand, gate: Gate) -> None:
    kill_me = by_hand.scheduler("only")
    by_hand.host("only")
    with CloudburstConnection(by_hand.address("only")) as connection:
        wait = connection.register(wait_at, "wait", timeout=3.0)
        run = wait(gate.path)
        gate.wait_for_arrival()
        connection.flush()
        kill(kill_me)
        by_hand.scheduler("only")

        with pytest.raises(TimeoutError, match="took longer than its 3 seconds"):
            run.get(20)
    gate.remove()


def test_a_large_argument_goes_with_its_run_even_if_no_scheduler_saw_the_end(
    by_hand: ByHand, gate: Gate
) -> None:
    kill_me = by_hand.scheduler("only")
    by_hand.host("only")
    with CloudburstConnection(by_hand.address("only")) as connection:
        wait = connection.register(lambda _, path, large: wait_at(_, path), "wait")
        run = wait(gate.path, bytes(LARGE))
        gate.wait_for_arrival()
        connection.flush()
        argument = parked_name(run.obj_id, 2)
        assert connection.get_object(argument) == bytes(LARGE)
        kill(kill_me)
        gate.open()
        assert run.get(10) == "gate"
        by_hand.scheduler("only")

        wait_until(lambda: connection.get_object(argument) is None, "the argument is gone")
        assert connection.future(run.obj_id).get(10) == "gate"
