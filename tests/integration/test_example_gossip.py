"""The gossip example: it runs as a user runs it, all nodes agree, and nobody waits for ever."""

import re
import statistics
from types import ModuleType
from typing import Any

import pytest
from example_scripts import run_example

from cloudburst import CloudburstConnection

NUMBERS = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]


class Postman:
    """In place of a library: gives out these messages, one at each `recv`."""

    def __init__(self, *messages: Any) -> None:
        self.messages = list(messages)

    def recv(self, timeout: float) -> list[tuple[str, Any]]:
        return [("somebody", self.messages.pop(0))] if self.messages else []


def test_runs_as_a_script_and_both_ways_find_the_mean() -> None:
    printed = run_example("gossip", "--nodes", "5")

    truth = re.search(r"5 nodes; the true mean of their numbers is (\d+\.\d+)", printed)
    assert truth is not None
    gossip = re.search(
        r"gossip: 23 rounds, 115 messages, \d+\.\d+ s\n"
        r" +estimates (\d+\.\d+) to (\d+\.\d+), off by 0\.\d+%",
        printed,
    )
    assert gossip is not None
    for estimate in gossip.groups():
        assert float(estimate) == pytest.approx(float(truth[1]), rel=0.01)
    assert re.search(r"gather: the leader looked \d+ times, \d+\.\d+ s", printed)
    assert f"mean {truth[1]}, off by 0.0000%" in printed


def test_all_nodes_talk_where_only_one_could_work(
    example: ModuleType, narrow: CloudburstConnection
) -> None:
    estimates = example.gossip(narrow, NUMBERS, seed=1)

    assert estimates == pytest.approx([statistics.fmean(NUMBERS)] * len(NUMBERS), rel=0.01)
    # All dice are seeded, and messages are added in the order of their senders.
    assert example.gossip(narrow, NUMBERS, seed=1) == estimates
    assert example.gossip(narrow, NUMBERS, seed=2) != estimates


def test_leader_that_was_started_first_finds_all_followers(
    example: ModuleType, narrow: CloudburstConnection
) -> None:
    for numbers in (NUMBERS, NUMBERS[::2]):
        mean, looks = example.gather(narrow, numbers)

        assert mean == statistics.fmean(numbers)
        assert looks >= 1


def test_nobody_waits_for_ever_for_who_never_comes(
    example: ModuleType, narrow: CloudburstConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "PATIENCE", 0.2)
    group = example.Group("lonely", nodes=3, rounds=5, seed=0)
    node = narrow.register(example.push_sum, "push_sum")
    leader = narrow.register(example.lead, "lead")

    lonely, leaderless = [node(group, i, 1.0) for i in (0, 2)], leader("nobody", 2)

    for call in lonely:
        assert "lonely/id/1" in str(call.exception(30))
        assert isinstance(call.exception(30), TimeoutError)
    assert str(leaderless.exception(30)) == "not there: ['nobody/number/0', 'nobody/number/1']"


def test_halves_of_a_later_round_are_kept_for_it(example: ModuleType) -> None:
    late, early = example.Half(0, 7, 1.0, 0.5), example.Half(1, 4, 2.0, 0.5)
    mail = example.Mail(Postman(early, late))

    assert mail.take(0, {7}) == [late]
    assert mail.take(1, {4}) == [early]
    with pytest.raises(TimeoutError, match=r"nothing from \[4, 7\] in round 2"):
        mail.take(2, {7, 4})


def test_every_node_draws_another_one(example: ModuleType) -> None:
    group = example.Group("all", nodes=6, rounds=40, seed=3)
    for number in range(group.rounds):
        drawn = group.draw(number)
        assert len(drawn) == 6
        assert set(drawn) <= set(range(6))
        assert all(target != node for node, target in enumerate(drawn))


def test_estimate_that_is_off_is_an_error(example: ModuleType) -> None:
    assert example.check("gossip", [99.5, 100.0], 100.0) == pytest.approx(0.005)
    with pytest.raises(SystemExit, match=r"gossip is off by 2\.00%, more than 1%"):
        example.check("gossip", [98.0, 100.0], 100.0)
