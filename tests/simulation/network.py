"""Networks between processes: one like our transports, and one that does all that networks may.

A message travels as the frames that `cloudburst.core.wire` makes of it.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from cloudburst.core.messages import Frames, Message
from cloudburst.core.wire import decode, encode

from .clock import Clock, Trace
from .process import Process

SLOW = 200.0
"""Times the latency that a slow message takes."""

GONE_AFTER = 0.002
"""Seconds until the end of a process shows at the other end of its connections."""


class Letter(NamedTuple):
    """A message in somebody's inbox."""

    sender: str
    message: Message


class Network(ABC):
    """Carries messages between processes; see `Connected` and `Harsh`.

    Args:
        clock: the world's.
        dice: decides about delays and losses.
        trace: where messages are noted.
        latency: seconds that a message takes on the average.
        slow: how many of them take much longer.

    Attributes:
        lossless: whether messages neither get lost nor take long any more.
    """

    def __init__(
        self, clock: Clock, dice: random.Random, trace: Trace, latency: float, slow: float
    ) -> None:
        self.clock = clock
        self.dice = dice
        self.trace = trace
        self.latency = latency
        self.slow = slow
        self.lossless = False
        self.processes: dict[str, Process] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()

    def join(self, process: Process) -> None:
        """A process can be reached under its name from now on."""
        self.processes[process.name] = process

    def leave(self, process: Process) -> None:  # noqa: B027  nothing need be done about it
        """A process is dead."""

    @abstractmethod
    def send(self, sender: Process, to: str, message: Message, *, patient: bool = False) -> bool:
        """Send a message.

        Args:
            sender: who.
            to: the name of whoever is to have it.
            message: what.
            patient: keep it until there is a connection.

        Returns:
            False if it is known that it cannot arrive.
        """

    def reaches(self, sender: Process, to: str) -> bool:
        """Whether a connection could be made now."""
        target = self.processes.get(to)
        return (
            target is not None
            and target.alive
            and not self.is_cut(sender.machine, target.machine)
            and not self.is_cut(target.machine, sender.machine)
        )

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing gets from one machine to another."""
        return self._cuts[source, target] > 0

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from one machine to another, until as often `heal` is called."""
        self._cuts[source, target] += 1

    def heal(self, source: str, target: str) -> None:
        """Take back a `cut`."""
        self._cuts[source, target] -= 1

    def shake(self, name: str) -> None:  # noqa: B027  where there are no connections
        """Whatever can go wrong at once with a process's connections does."""

    def _delay(self) -> float:
        slow = SLOW if self.dice.random() < self.slow and not self.lossless else 1.0
        return self.latency * slow * (0.5 + self.dice.random())

    def _arrive(self, target: Process, sender: str, frames: Frames) -> None:
        if target.alive:
            letter = Letter(sender, decode(frames))
            self.trace.note(f"{sender} -> {target.name}", letter.message)
            target.deliver(letter)


class Harsh(Network):
    """Every message for itself: it may be lost, come twice, and overtake others.

    Attributes:
        loss: how likely it is that a message is lost.
        repeats: how likely it is that it comes twice.
    """

    loss = 0.0
    repeats = 0.0

    def send(self, sender: Process, to: str, message: Message, *, patient: bool = False) -> bool:
        target = self.processes.get(to)
        if target is None or not target.alive:
            return self.dice.random() < 0.5
        if self.is_cut(sender.machine, target.machine) or self._happens(self.loss):
            self.trace.note(f"{sender.name} -x {to}", message)
            return True
        frames = encode(message)
        for _ in range(1 + self._happens(self.repeats)):
            delay = self._delay() * self.dice.expovariate(1.0)
            self.clock.after(delay, partial(self._arrive, target, sender.name, frames))
        return True

    def _happens(self, chance: float) -> bool:
        return self.dice.random() < chance and not self.lossless


@dataclass(eq=False)
class _Way:
    """One direction of a connection."""

    last: float = 0.0
    held: list[tuple[Process, str, Frames]] = field(default_factory=list)


@dataclass(eq=False)
class _Link:
    """A connection from its owner to whoever bears a name; see `cloudburst.transport.base`.

    Attributes:
        peer: the process at the other end; None while it is not connected.
        broken: how often it has been; what was on its way then is lost.
        queue: what waits for a connection.
        up_at: when it can be made again.
    """

    owner: Process
    target: str
    peer: Process | None = None
    broken: int = 0
    queue: deque[Frames] = field(default_factory=deque)
    up_at: float = 0.0
    there: _Way = field(default_factory=_Way)
    back: _Way = field(default_factory=_Way)


class Connected(Network):
    """Connections: ordered, nothing comes twice, lost is only what is on its way as one ends.

    To be cut off delays messages until it is over, or the connection is.
    """

    def __init__(
        self, clock: Clock, dice: random.Random, trace: Trace, latency: float, slow: float
    ) -> None:
        super().__init__(clock, dice, trace, latency, slow)
        self._links: dict[tuple[str, str], _Link] = {}

    def join(self, process: Process) -> None:
        super().join(process)
        for link in self._links.values():
            if link.target == process.name:
                self._soon(link)

    def connect(self, owner: Process, target: str) -> None:
        """Make a connection that is made again whenever it ends."""
        link = self._links[owner.name, target] = _Link(owner, target)
        self._try(link)

    def leave(self, process: Process) -> None:
        for link in self._links.values():
            if process in (link.owner, link.peer):
                last = max(link.there.last, link.back.last) - self.clock.now
                self.clock.after(max(GONE_AFTER, last), partial(self._notice, link, process))

    def send(self, sender: Process, to: str, message: Message, *, patient: bool = False) -> bool:
        answered = self._links.get((to, sender.name))
        if answered is not None:
            if answered.peer is not sender:
                return False
            self._post(answered, answered.back, answered.owner, sender.name, encode(message))
            return True
        if (sender.name, to) not in self._links:
            self.connect(sender, to)
        link = self._links[sender.name, to]
        if link.peer is None:
            self._try(link)
        if link.peer is not None:
            self._post(link, link.there, link.peer, sender.name, encode(message))
            return True
        if patient:
            link.queue.append(encode(message))
        return patient

    def heal(self, source: str, target: str) -> None:
        super().heal(source, target)
        for link in self._links.values():
            for way in (link.there, link.back):
                held, way.held = way.held, []
                for receiver, sender, frames in held:
                    self._post(link, way, receiver, sender, frames)
            if link.peer is None:
                self._soon(link)

    def shake(self, name: str) -> None:
        """All connections of a process break, and with them what is on its way."""
        for link in self._links.values():
            if name in (link.owner.name, link.target) and link.peer is not None:
                self.trace.note("network", f"{link.owner.name} and {link.target} part")
                link.peer = None
                link.broken += 1
                link.there, link.back = _Way(), _Way()
                link.up_at = self.clock.now + self.dice.uniform(0.001, 0.1)
                self._soon(link)

    def _post(self, link: _Link, way: _Way, receiver: Process, sender: str, frames: Frames) -> None:
        source = self.processes[sender].machine
        if self.is_cut(source, receiver.machine):
            way.held.append((receiver, sender, frames))
            return
        way.last = max(way.last, self.clock.now + self._delay())
        action = partial(self._take, link, link.broken, receiver, sender, frames)
        self.clock.after(way.last - self.clock.now, action)

    def _take(
        self, link: _Link, broken: int, receiver: Process, sender: str, frames: Frames
    ) -> None:
        if link.broken == broken:
            self._arrive(receiver, sender, frames)

    def _try(self, link: _Link) -> None:
        """Connect, and send what waited for it."""
        if not (
            link.peer is None
            and link.owner.alive
            and self.clock.now >= link.up_at
            and self.reaches(link.owner, link.target)
        ):
            return
        link.peer = self.processes[link.target]
        while link.queue:
            self._post(link, link.there, link.peer, link.owner.name, link.queue.popleft())

    def _soon(self, link: _Link) -> None:
        delay = max(link.up_at - self.clock.now, 0.0) + self.dice.uniform(0.0, 0.03)
        self.clock.after(delay, partial(self._try, link))

    def _notice(self, link: _Link, process: Process) -> None:
        if process is link.owner:
            self._links.pop((link.owner.name, link.target), None)
        elif link.peer is process:
            link.peer = None
            link.there, link.back = _Way(), _Way()
            self._soon(link)
