"""The mean of numbers that ten functions hold, one each: by gossip, and by asking them all.

Gossip: Kempe, Dobra and Gehrke's push-sum (FOCS 2003). A node starts with its number as `total`
and 1 as `weight`. In each round it keeps half of both and sends the other half to a node drawn by
lot. `total / weight` is its estimate; all estimates come to the mean, and nobody leads.

Gather: each follower puts its number into the key-value store, and a leader, which was started
before all of them, reads their keys until it has found every one.

Every node is a call of its own. All ten must run at the same time, on a pool that begins with two
executors: it grows while calls wait, and a node that waits for messages leaves its room to others.

    python examples/gossip.py [--nodes N] [--seed N]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from cloudburst import CloudburstConnection, LocalCluster, UserLibrary

WITHIN = 0.01  # what an estimate may be off, as part of the mean,
RISK = 0.01  # and how probable it may be that one is off by more
PATIENCE = 20.0  # seconds that a function waits for the others before it gives up
NAP = 0.05  # seconds between two looks into the store


class Group(NamedTuple):
    """Nodes that gossip with each other."""

    name: str
    nodes: int
    rounds: int
    seed: int

    def id_key(self, node: int) -> str:
        """Where that node says under which id it is to be reached."""
        return f"{self.name}/id/{node}"

    def draw(self, number: int) -> list[int]:
        """To whom each node sends in that round.

        All nodes throw the same dice, so each can tell from whom it will get something. Rounds are
        what they are in the paper: one is over when everything that was sent in it has arrived.
        """
        dice = random.Random(f"{self.seed}/{number}")
        everyone = range(self.nodes)
        return [dice.choice([other for other in everyone if other != node]) for node in everyone]


class Half(NamedTuple):
    """A message: what a node gives away in a round."""

    round: int
    node: int
    total: float
    weight: float


def rounds_needed(nodes: int) -> int:
    """After how many rounds all may stop: log n + 2 log 1/error + log 1/risk, as in the paper.

    Everybody knows this number beforehand. So all stop after the same round, in which they have
    been sent all that they wait for.
    """
    return math.ceil(math.log2(nodes) + 2 * math.log2(1 / WITHIN) + math.log2(1 / RISK))


class Mail:
    """The halves that have come to a node, by round: a fast node may be a round ahead."""

    def __init__(self, library: UserLibrary) -> None:
        self.library = library
        self.halves: dict[int, dict[int, Half]] = defaultdict(dict)

    def wait(self, seconds: float) -> bool:
        """Take in what comes, waiting so long for the first. Returns whether anything came."""
        messages = self.library.recv(timeout=seconds)
        for _, half in messages:
            self.halves[half.round][half.node] = half
        return bool(messages)

    def take(self, number: int, senders: set[int]) -> list[Half]:
        """What those nodes have sent in that round, once all of it is here."""
        while missing := senders - self.halves[number].keys():
            if not self.wait(PATIENCE):
                raise TimeoutError(f"nothing from {sorted(missing)} in round {number}")
        halves = self.halves.pop(number)
        return [halves[node] for node in sorted(senders)]


def meet(group: Group, node: int, mail: Mail) -> list[str]:
    """Publish the id of this call, and wait until all nodes have. Returns all ids."""
    library, deadline = mail.library, time.monotonic() + PATIENCE
    library.put(group.id_key(node), library.get_id())
    keys = [group.id_key(other) for other in range(group.nodes)]
    while None in (ids := library.get(keys)).values():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not there: {[key for key in keys if ids[key] is None]}")
        mail.wait(NAP)  # those who have met already may be sending
    return [ids[key] for key in keys]


def push_sum(library: UserLibrary, group: Group, node: int, number: float) -> float:
    """One node. Returns its estimate of the mean of all numbers."""
    mail = Mail(library)
    ids = meet(group, node, mail)
    total, weight = number, 1.0
    for current in range(group.rounds):
        drawn = group.draw(current)
        total, weight = total / 2, weight / 2
        library.send(ids[drawn[node]], Half(current, node, total, weight))
        senders = {other for other, target in enumerate(drawn) if target == node}
        for half in mail.take(current, senders):
            total, weight = total + half.total, weight + half.weight
    return total / weight


def follow(library: UserLibrary, group: str, node: int, number: float) -> None:
    """A follower: publishes its number."""
    library.put(f"{group}/number/{node}", number)


def lead(library: UserLibrary, group: str, followers: int) -> tuple[float, int]:
    """The leader. Returns the mean of the followers' numbers, and how often it has looked."""
    keys = [f"{group}/number/{node}" for node in range(followers)]
    deadline, looks = time.monotonic() + PATIENCE, 1
    while None in (numbers := library.get(keys)).values():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not there: {[key for key in keys if numbers[key] is None]}")
        library.recv(timeout=NAP)  # nobody sends: a nap that leaves its room to others
        looks += 1
    return statistics.fmean(numbers.values()), looks


def gossip(cloud: CloudburstConnection, numbers: Sequence[float], seed: int) -> list[float]:
    """Each node's estimate of the mean of the numbers."""
    # A node that were started again would have an id that nobody knows: better that all fail.
    node = cloud.register(push_sum, "push_sum", timeout=3 * PATIENCE, max_retries=0)
    group = Group(f"gossip {seed}", len(numbers), rounds_needed(len(numbers)), seed)
    for i in range(group.nodes):
        cloud.delete_object(group.id_key(i))  # an earlier group of that name is not this one
    calls = [node(group, i, number) for i, number in enumerate(numbers)]
    return [call.get() for call in calls]


def gather(cloud: CloudburstConnection, numbers: Sequence[float]) -> tuple[float, int]:
    """The mean of the numbers as the leader found it, and how often it has looked."""
    leader = cloud.register(lead, "lead", timeout=3 * PATIENCE)
    follower = cloud.register(follow, "follow")
    for i in range(len(numbers)):
        cloud.delete_object(f"gather/number/{i}")  # of an earlier time
    answer = leader("gather", len(numbers))
    for future in [follower("gather", i, number) for i, number in enumerate(numbers)]:
        future.get()
    mean, looks = answer.get()
    return mean, looks


def check(what: str, estimates: Sequence[float], mean: float) -> float:
    """By how much of the mean the worst estimate is off; it is an error if that is too much."""
    off = max(abs(estimate / mean - 1) for estimate in estimates)
    if off > WITHIN:
        raise SystemExit(f"{what} is off by {off:.2%}, more than {WITHIN:.0%}")
    return off


def main(argv: list[str] | None = None) -> None:
    """Both ways, and the truth."""
    parser = argparse.ArgumentParser(description="Compute a mean by gossip, and by gathering.")
    parser.add_argument("--nodes", type=int, default=10, help="functions that hold a number")
    parser.add_argument("--seed", type=int, default=0, help="for the numbers and the dice")
    arguments = parser.parse_args(argv)
    if arguments.nodes < 2:
        parser.error("gossip takes two")

    dice = random.Random(arguments.seed)
    numbers = [dice.uniform(0, 100) for _ in range(arguments.nodes)]
    mean = statistics.fmean(numbers)
    print(f"{len(numbers)} nodes; the true mean of their numbers is {mean:.4f}\n")

    with LocalCluster(min=2) as cluster, cluster.connect() as cloud:
        begin = time.perf_counter()
        gathered, looks = gather(cloud, numbers)
        seconds = time.perf_counter() - begin
        off = check("gather", [gathered], mean)
        print(f"gather: the leader looked {looks} times, {seconds:.2f} s")
        print(f"        mean {gathered:.4f}, off by {off:.4%}")

        begin = time.perf_counter()
        estimates = gossip(cloud, numbers, arguments.seed)
        seconds, rounds = time.perf_counter() - begin, rounds_needed(len(numbers))
        off = check("gossip", estimates, mean)
        print(f"gossip: {rounds} rounds, {rounds * len(numbers)} messages, {seconds:.2f} s")
        print(f"        estimates {min(estimates):.4f} to {max(estimates):.4f}, off by {off:.4%}")


if __name__ == "__main__":
    main()
