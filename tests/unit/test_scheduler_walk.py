"""A random walk: whatever happens in whatever order, every run ends once and nothing is left.

`Cluster` checks the state's invariants after every event; `World` plays executors that finish in
any order, tell things twice, die, fall silent and come back, and a store that lags and fails.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from scheduling import Cluster, context

from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Call,
    DeleteDag,
    DropDag,
    ExecutorDied,
    ExecutorReady,
    ExecutorUnknown,
    Finished,
    Forget,
    Heartbeat,
    Message,
    RegisterFunction,
    Rejected,
    RunState,
    Start,
)
from cloudburst.errors import CloudburstError, KVSUnavailable
from cloudburst.scheduler.events import (
    Command,
    Event,
    Fail,
    PeerGone,
    Received,
    Restored,
    Send,
    Tick,
    Write,
    Written,
)

TARGETS = ("f", "g", "C", "diamond", "one", "two", "unknown")
DAGS = ("diamond", "one", "two")
TIMES = (20e-6, 20e-6, 20e-6, 200e-6, 1e-3, 0.1, 5.0)


def registered() -> Cluster:
    cluster = Cluster(max_waiting=30)
    cluster.register("f")
    cluster.register("g")
    cluster.register("C", is_class=True)
    cluster.dag(
        "diamond",
        [("top", "f"), ("left", "f"), ("right", "g"), ("end", "g")],
        [("top", "left"), ("top", "right"), ("left", "end"), ("right", "end")],
    )
    cluster.dag("one", ["C"])
    cluster.dag("two", [("x", "f"), ("y", "C"), ("z", "f")], [("x", "z"), ("y", "z")])
    return cluster


def call(run_id: str, target: str, *, references: tuple[str, ...], store: bool) -> Call:
    return Call(run_id, target, target in DAGS, (), references, "@c", store, "", 1.0, [])


class World:
    """What is around the scheduler, moved on by one random thing at a time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cluster = registered()
        self.hosts: dict[str, str] = {}
        self.numbers = 0
        self.shares: list[tuple[str, Finished]] = []
        self.told: list[tuple[str, Finished]] = []
        self.writes: list[tuple[int, int]] = []
        self.calls: dict[str, Call] = {}
        self.epochs: Counter[str] = Counter()
        self.refused: set[str] = set()
        self.given_up = 0
        self.ended: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()

    # what the scheduler says

    def feed(self, event: Event) -> None:
        before = set(self.cluster.state.runs)
        commands = self.cluster.feed(event)
        self.ended.update(before - set(self.cluster.state.runs))
        for command in commands:
            self.carry_out(command)

    def tell(self, sender: str, message: Message) -> None:
        self.feed(Received(sender, message))

    def carry_out(self, command: Command) -> None:
        match command:
            case Send(to=to, message=Start() as start):
                self.start(to, start)
            case Send(to=to, message=Forget(run_id=run_id, epoch=epoch)):
                self.forget(to, run_id, epoch)
            case Send(message=Rejected(run_id=run_id)):
                self.refused.add(run_id)
                assert run_id not in self.cluster.state.runs
            case Send(message=Accepted(run_ids=run_ids)):
                self.accepted.update(run_ids)
            case Send(to=to, message=ExecutorUnknown(executor=name)):
                assert to == name
                self.introduce(name)
            case Send(to=to, message=DropDag()):
                assert to in self.cluster.state.members.executors
            case Write(operations=operations, token=token):
                if token:
                    self.writes.append((token, len(operations)))
            case Fail(call=call):
                self.given_up += 1
                assert self.ended[call.run_id] == 1

    def start(self, to: str, start: Start) -> None:
        """All executors of the run will do their shares; the first `Start` tells of the epoch."""
        told = context(start)
        names = [address.removeprefix("@") for address in told.executors]
        assert to in names
        assert start.epoch >= self.epochs[start.run_id]
        if start.epoch == self.epochs[start.run_id]:
            return
        self.epochs[start.run_id] = start.epoch
        for number, name in enumerate(names):
            mine = [segment for segment, place in enumerate(told.places) if place == number]
            is_sink = told.places[-1] == number
            state = RunState.SUCCEEDED if is_sink else RunState.RUNNING
            if self.random.random() < 0.1:
                state = RunState.FAILED
            times = tuple((segment, self.random.choice(TIMES)) for segment in mine)
            self.shares.append((name, Finished(start.run_id, start.epoch, state.value, times)))

    def forget(self, to: str, run_id: str, epoch: int) -> None:
        """The executor lets go of its share and says so, some time later."""
        for number, (name, share) in enumerate(self.shares):
            if name == to and share.run_id == run_id and share.epoch <= epoch:
                over = share._replace(state=RunState.RUNNING.value, times=())
                self.shares[number] = (name, over)

    # what may happen

    def call(self) -> None:
        self.numbers += 1
        run_id, target = f"r{self.numbers}", self.random.choice(TARGETS)
        earlier = list(self.calls)
        references = self.random.sample(
            earlier, min(len(earlier), self.random.choice((0, 0, 1, 3)))
        )
        store = self.random.random() < 0.5
        self.calls[run_id] = call(run_id, target, references=tuple(references), store=store)
        self.tell("client", self.calls[run_id])

    def call_again(self) -> None:
        runs = list(self.cluster.state.runs)
        if runs:
            self.tell("client", self.calls[self.random.choice(runs)])

    def join(self) -> None:
        if len(self.hosts) < 6:
            self.numbers += 1
            name = f"e{self.numbers}"
            self.hosts[name] = self.random.choice(("h0", "h1"))
            self.introduce(name)

    def introduce(self, name: str) -> None:
        self.tell(name, ExecutorReady(PROTOCOL, name, self.hosts[name], f"@{name}", 1))

    def die(self) -> None:
        if self.hosts and self.random.random() < 0.6:
            busy = [name for name, _ in self.shares if name in self.hosts]
            name = self.random.choice(busy or list(self.hosts))
            host = self.hosts.pop(name)
            self.shares = [share for share in self.shares if share[0] != name]
            if self.random.random() < 0.8:
                self.tell(host, ExecutorDied(host, name, "killed by signal 9"))

    def lose_connection(self) -> None:
        if self.hosts and self.random.random() < 0.2:
            self.feed(PeerGone(self.random.choice(list(self.hosts))))

    def heartbeats(self) -> None:
        """Hosts say who is alive; now and then one has been silent for too long."""
        silent = self.random.choice(("h0", "h1", "", "", "", ""))
        for _ in range(2):
            self.cluster.now += 2.0
            for host in ("h0", "h1"):
                if host != silent:
                    self.heartbeat(host)
        self.feed(Tick())

    def heartbeat(self, host: str) -> None:
        names = tuple(name for name, owner in self.hosts.items() if owner == host)
        self.tell(host, Heartbeat(PROTOCOL, host, names))

    def finish(self) -> None:
        if self.shares:
            share = self.shares.pop(self.random.randrange(len(self.shares)))
            self.told.append(share)
            self.tell(*share)

    def finish_again(self) -> None:
        if self.told:
            self.tell(*self.random.choice(self.told))

    def write(self) -> None:
        if self.writes:
            token, count = self.writes.pop(0)
            outcome: list[bool] | CloudburstError = [True] * count
            if self.random.random() < 0.1:
                outcome = KVSUnavailable("the store is away")
            self.feed(Written(token, outcome))

    def register(self) -> None:
        if self.random.random() < 0.2:
            self.numbers += 1
            name, is_class = self.random.choice((("f", False), ("g", False), ("C", True)))
            self.tell("client", RegisterFunction(1, name, f"v{self.numbers}", is_class))

    def delete(self) -> None:
        if self.random.random() < 0.05:
            self.tell("client", DeleteDag(1, self.random.choice(DAGS)))

    def restore(self) -> None:
        if self.random.random() < 0.1:
            self.numbers += 1
            run_id = f"r{self.numbers}"
            self.calls[run_id] = call(run_id, "f", references=(), store=True)
            self.epochs[run_id] = 3
            self.feed(Restored("client", self.calls[run_id], 3))

    def step(self) -> None:
        happenings = {
            self.call: 6,
            self.finish: 14,
            self.write: 4,
            self.call_again: 1,
            self.finish_again: 2,
            self.join: 4,
            self.die: 4,
            self.lose_connection: 1,
            self.heartbeats: 1,
            self.register: 1,
            self.delete: 1,
            self.restore: 1,
        }
        (happening,) = self.random.choices([*happenings], [*happenings.values()])
        happening()

    def settle(self) -> None:
        """From here on everybody behaves."""
        self.hosts["last"] = "h0"
        self.introduce("last")
        for _ in range(3):
            for host in ("h0", "h1"):
                self.heartbeat(host)
        while self.shares or self.writes:
            self.finish()
            self.write()


@pytest.mark.parametrize("seed", range(30))
def test_every_run_ends_once_and_nothing_is_left(seed: int) -> None:
    world = World(seed)
    for _ in range(300):
        world.step()

    world.settle()

    assert world.cluster.idle()
    assert set(world.ended) == set(world.calls) - world.refused
    assert set(world.ended.values()) == {1}
    assert all(count == 1 for count in world.accepted.values())
    assert set(world.accepted) <= set(world.ended)


def test_the_walk_meets_what_it_is_for() -> None:
    """A walk that never queued, retried or gave up a run would prove nothing."""
    waited = retried = given_up = refused = accepted = 0
    for seed in range(30):
        world = World(seed)
        for _ in range(300):
            world.step()
            waited += len(world.cluster.state.queues)
            retried += sum(run.deaths > 0 for run in world.cluster.state.runs.values())
        given_up += world.given_up
        refused += len(world.refused)
        accepted += len(world.accepted)

    assert min(waited, retried, given_up, refused, accepted) >= 5
