"""One turn of the scheduler: when it is, and what is to be done after it."""

from __future__ import annotations

from cloudburst.core.messages import Message
from cloudburst.kvs.base import Operation
from cloudburst.scheduler.events import Command, Send, Write


class Turn:
    """Shared by all parts of the scheduler's state while an event is handled.

    Attributes:
        now: the time of the event (monotonic seconds).
        commands: what is to be done, in this order.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.commands: list[Command] = []

    def send(self, to: str, message: Message) -> None:
        """Send a message to a peer."""
        self.commands.append(Send(to, message))

    def write(self, *operations: Operation, token: int = 0) -> None:
        """Write to the KVS; with a token, to be told how it went."""
        self.commands.append(Write(operations, token))

    def end(self) -> list[Command]:
        """Take out what is to be done."""
        commands = self.commands[:]
        self.commands.clear()
        return commands
