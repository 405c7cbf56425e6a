"""An executor's decisions: what may run, where values go, when its share of a run is done.

No socket, no clock, no store, no user code. `ExecutorState.handle` is the only thing that
changes the state; `next_work` takes out what may run now.
"""

from __future__ import annotations

import logging

from cloudburst.core.messages import (
    Blocked,
    Bounce,
    Finished,
    Frames,
    HandBack,
    Probe,
    RunState,
    Standing,
    Start,
    Stop,
    Trigger,
    Yield,
)
from cloudburst.core.wire import unpack_context
from cloudburst.errors import ProtocolError
from cloudburst.executor.events import (
    Command,
    Deliver,
    Done,
    Ending,
    Event,
    Input,
    Interrupt,
    Leave,
    PlanLoaded,
    PlanMissing,
    Report,
    Stale,
    Undelivered,
    Waits,
    Work,
)
from cloudburst.executor.ready import Ready
from cloudburst.executor.routes import Routes
from cloudburst.executor.share import Share, finished_of, packed, trigger_of

REMEMBERED = 10_000
"""Ended runs whose late messages are recognised and dropped."""

_log = logging.getLogger(__name__)


class ExecutorState:
    """Everything an executor knows of runs.

    Args:
        address: this executor's own address, by which contexts name it.

    Attributes:
        ended: what was said of the shares that ended here, in case nobody heard it.
        routes: what contexts mean, and the messages whose plans are not there yet.
        ready: what may run now.
        running: what was taken out and is not `Done`, nor stopped while others of its batch were
            not.
        stopped: what stopped the last of it meanwhile.
        blocked: whether it waits for what others do; None if it has not yet.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.routes = Routes(address)
        self.shares: dict[str, Share] = {}
        self.ready = Ready()
        self.ended: dict[str, Finished | HandBack | Yield] = {}
        self.running: tuple[Work, ...] = ()
        self.stopped: Stop | None = None
        self.blocked: bool | None = None

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and say what is to be done about it.

        Raises:
            ProtocolError: a message does not fit its plan; nothing has changed.
        """
        match event:
            case Done():
                return self._done(event)
            case Start() | Trigger():
                return self._message(event)
            case Stop():
                return self._stop(event)
            case Probe(run_id=run_id, epoch=epoch):
                return [Report(said) for said in self._answers(run_id, epoch)]
            case Undelivered(run_id=run_id, epoch=epoch, reason=reason):
                return self._give_back(run_id, epoch, reason)
            case Stale(run_id=run_id, epoch=epoch):
                return [self._correct(Finished(run_id, epoch, RunState.RUNNING, ()))]
            case Bounce():
                return self._yield()
            case Waits(waits=waits):
                return self._wait(waits=waits)
            case Leave():
                return self._leave()
            case PlanLoaded(plan=plan):
                return self._catch_up(self.routes.learn(plan))
            case PlanMissing(plan_id=plan_id, failure=failure):
                return self._give_up(self.routes.early.pop(plan_id, []), failure)

    def next_work(self, now: float = 0.0) -> tuple[Work, ...]:
        """Take out what may run next: a segment, or the same one of several runs.

        Args:
            now: monotonic seconds; for how long batches have waited.
        """
        self.running = self.ready.take(now, self._is_wanted)
        return self.running

    def _is_wanted(self, work: Work) -> bool:
        share = self.shares.get(work.run_id)
        return share is not None and share.epoch == work.epoch

    def _message(self, message: Start | Trigger) -> list[Command]:
        run_id, epoch = message.run_id, message.epoch
        share = self.shares.get(run_id)
        if share is None or share.epoch != epoch:
            if epoch <= (share.epoch if share else self._ended_epoch(run_id)):
                return self._stale(message)
            route = self.routes.find(message.context)
            if route is None:
                return [*self.routes.wait(message)]
            share = Share(run_id, epoch, route)
        if isinstance(message, Start):
            self.ready.add(share.take_start(message))
        else:
            self.ready.add(share.take_input(message.segment, message.position, message.frames))
        self.shares[run_id] = share  # only now: a message that does not fit leaves no share
        return self._uncrowd() if self.blocked else []

    def _stale(self, message: Start | Trigger) -> list[Command]:
        # A scheduler that was restarted may start a run again whose share here is done: it must
        # not count on it for ever.
        if isinstance(message, Trigger):
            return []
        return [Report(Finished(message.run_id, message.epoch, RunState.RUNNING, ()))]

    def _catch_up(self, early: list[Start | Trigger]) -> list[Command]:
        """Take in the messages that waited for a plan."""
        commands: list[Command] = []
        for message in early:
            try:
                commands += self._message(message)
            except ProtocolError as error:
                # Said here: the other messages must not be lost with it.
                _log.warning("dropped a message: %s", error)
        return commands

    def _give_up(self, early: list[Start | Trigger], failure: Frames) -> list[Command]:
        """The plan cannot be had: the runs that wait for it fail."""
        commands: list[Command] = []
        for message in early:
            share = self.shares.get(message.run_id)
            newest = share.epoch if share else self._ended_epoch(message.run_id)
            if newest < message.epoch:
                finished = Finished(message.run_id, message.epoch, RunState.FAILED, ())
                self._end(finished)
                context = unpack_context(message.context)
                commands.append(Deliver(context, failed=True, frames=failure, finished=finished))
        return commands

    def _done(self, done: Done) -> list[Command]:
        work = done.work
        stopped = self._taken_off(work)
        share = self.shares.get(work.run_id)
        if share is None or share.epoch != work.epoch:
            if stopped is None:
                return []
            # Only now nothing of it runs here any more.
            times = ((work.segment, done.seconds),)
            finished = Finished(stopped.run_id, stopped.epoch, RunState.RUNNING, times)
            return [Report(finished)]
        match done.ending:
            case Ending.ABANDONED if work.batch is not None:
                return self._give_back(work.run_id, work.epoch, "calls of its batch were cancelled")
            case Ending.ABANDONED:
                return [self._correct(Finished(work.run_id, work.epoch, RunState.RUNNING, ()))]
            case Ending.PUT_OFF:
                self.ready.add([work._replace(put_off=True)])
            case Ending.VOID:
                self.ready.add(share.take_next(work.segment))
            case Ending.SUCCEEDED | Ending.FAILED:
                return self._ran(share, done)
        return []

    def _ran(self, share: Share, done: Done) -> list[Command]:
        """A segment has a value, or a failure: the next ones get it."""
        work = done.work
        share.left -= 1
        share.times.append((work.segment, done.seconds))
        outputs = share.route.plan.segments[work.segment].outputs
        if done.ending is Ending.FAILED and not share.may_fail(outputs):
            return self._failed(share, done)
        if not outputs:
            return [self._deliver(share, RunState.SUCCEEDED, done.value)]
        commands: list[Command] = []
        for edge in outputs:
            if share.route.is_here(edge.segment):
                self.ready.add(share.take_input(edge.segment, edge.position, done.value))
            else:
                commands.append(trigger_of(share, edge, done.value))
        if share.left == 0:
            finished = finished_of(share, RunState.RUNNING)
            self._end(finished)
            commands.append(Report(finished))
        return commands

    def _taken_off(self, work: Work) -> Stop | None:
        """It does not run any more. Returns what stopped it."""
        self.running = tuple([other for other in self.running if other is not work])
        if not self.running:
            self.blocked = None
        stopped = self.stopped
        if stopped is None or stopped.run_id != work.run_id:
            return None
        self.stopped = None
        return stopped

    def _failed(self, share: Share, done: Done) -> list[Command]:
        if not share.route.context.retried:
            return [self._deliver(share, RunState.FAILED, done.value)]
        back = HandBack(share.run_id, share.epoch, raised=True, reason=done.reason)
        self._end(back)
        return [Report(back)]

    def _deliver(self, share: Share, state: RunState, value: Input) -> Deliver:
        failed, finished = state is RunState.FAILED, finished_of(share, state)
        self._end(finished)
        route = share.route
        return Deliver(route.context, failed, packed(value), finished, route.plan.target)

    def _stop(self, stop: Stop) -> list[Command]:
        run_id, epoch, state = stop
        share, finished = self.shares.get(run_id), Finished(run_id, epoch, RunState.RUNNING, ())
        if share is not None and share.epoch <= epoch:
            finished = finished._replace(times=tuple(share.times))
        self._end(finished)
        # Also if a trigger of the next epoch was faster: the code that runs is of an older one.
        if not any(work.run_id == run_id and work.epoch <= epoch for work in self.running):
            return [Report(finished)]
        if len(self.running) > 1:  # the rest of its batch goes on
            first = self.running[0]
            self.running = tuple([work for work in self.running if work.run_id != run_id])
            still_waits = self.blocked and self.running[0] is not first
            return [Report(finished), *(self._wait(waits=True) if still_waits else ())]
        self.stopped = stop
        return [Interrupt(run_id, state)]

    def _give_back(self, run_id: str, epoch: int, reason: str) -> list[Command]:
        return [self._correct(HandBack(run_id, epoch, raised=False, reason=reason))]

    def _correct(self, said: Finished | HandBack) -> Report:
        """The share is over, and whatever was said of it, the run did not end by it."""
        if self._ended_epoch(said.run_id) == said.epoch:
            del self.ended[said.run_id]
        self._end(said)
        return Report(said)

    def _leave(self) -> list[Command]:
        """Give back all shares but the one that runs."""
        running = self._running_ids()
        return [
            command
            for share in list(self.shares.values())
            if share.run_id not in running
            for command in self._give_back(share.run_id, share.epoch, "its executor was ended")
        ]

    def _wait(self, *, waits: bool) -> list[Command]:
        if not self.running:
            return []
        self.blocked = waits
        said = Report(Blocked(self.running[0].run_id, self.running[0].epoch, waits))
        return [said, *self._uncrowd()] if waits else [said]

    def _uncrowd(self) -> list[Command]:
        """Start a run again, in several places, whose code waits here with more of it behind.

        It may wait for just that, which would never begin.
        """
        behind = {(w.run_id, w.epoch) for w in self.ready.works if not w.route.context.cramped}
        for run_id, epoch in behind & {(work.run_id, work.epoch) for work in self.running}:
            stopped = self._stop(Stop(run_id, epoch, RunState.PENDING))
            reason = "its steps wait for each other in one place"
            back = HandBack(run_id, epoch, raised=False, reason=reason, crowded=True)
            return [self._correct(back), *(c for c in stopped if isinstance(c, Interrupt))]
        return []

    def _yield(self) -> list[Command]:
        """Give back the runs that are wholly here, and of which nothing has begun.

        While the code that runs waits for what others do, also what could run here and has begun
        elsewhere: that code may wait for just this.
        """
        commands = self._yield_unbegun()
        if self.blocked:
            running = self._running_ids()
            stuck = {work.run_id: work.epoch for work in self.ready.works}
            for run_id, epoch in stuck.items():
                share = self.shares.get(run_id)
                if run_id not in running and share is not None and share.epoch == epoch:
                    commands += self._give_back(run_id, epoch, "its executor waits for others")
        return commands

    def _yield_unbegun(self) -> list[Command]:
        running = self._running_ids()
        unbegun = [
            share
            for share in self.shares.values()
            if share.run_id not in running
            and share.left == len(share.route.context.places)
            and share.left > len(share.missing)
        ]
        yielded = [Yield(share.run_id, share.epoch) for share in unbegun]
        for said in yielded:
            self._end(said)
        return [Report(said) for said in yielded]

    def _answers(
        self, run_id: str, epoch: int
    ) -> list[Finished | HandBack | Yield | Standing | Blocked]:
        """How a run stands here; and again what was said of its code, should that be lost.

        Of one that could run also what keeps it from that: perhaps the scheduler does not know.
        """
        standing = self._standing(run_id, epoch)
        if self._runs(run_id, epoch):
            again = () if self.blocked is None else (Blocked(run_id, epoch, self.blocked),)
            return [standing, *again]
        if isinstance(standing, Standing) and standing.active:
            before = [Standing(work.run_id, work.epoch, active=True) for work in self.running]
            return [standing, *before]
        return [standing]

    def _standing(self, run_id: str, epoch: int) -> Finished | HandBack | Yield | Standing:
        share = self.shares.get(run_id)
        if share is None or share.epoch != epoch:
            ended = self.ended.get(run_id)
            if ended is not None and ended.epoch == epoch and not self._runs(run_id, epoch):
                return ended._replace(times=()) if isinstance(ended, Finished) else ended
            return Standing(run_id, epoch, active=self._runs(run_id, epoch))
        # What does not wait for inputs runs, or could.
        return Standing(run_id, epoch, active=share.left > len(share.missing))

    def idle(self) -> set[tuple[str, int]]:
        """The (run, epoch) of the shares for which something must come before they go on."""
        return {
            (run_id, share.epoch)
            for run_id, share in self.shares.items()
            if share.left == len(share.missing)
        }

    def holds(self) -> tuple[tuple[str, int], ...]:
        """The (run, epoch) of which something is here that is not over."""
        held = {run_id: share.epoch for run_id, share in self.shares.items()}
        for messages in self.routes.early.values():
            held.update((message.run_id, message.epoch) for message in messages)
        for work in self.running:
            held.setdefault(work.run_id, work.epoch)
        return tuple(held.items())

    def _runs(self, run_id: str, epoch: int) -> bool:
        return any((work.run_id, work.epoch) == (run_id, epoch) for work in self.running)

    def _running_ids(self) -> set[str]:
        return {work.run_id for work in self.running}

    def _ended_epoch(self, run_id: str) -> int:
        ended = self.ended.get(run_id)
        return 0 if ended is None else ended.epoch

    def _end(self, said: Finished | HandBack | Yield) -> None:
        run_id = said.run_id
        share = self.shares.get(run_id)
        if share is not None and share.epoch <= said.epoch:
            del self.shares[run_id]
        before = self.ended.pop(run_id, said)
        self.ended[run_id] = max(before, said, key=lambda item: item.epoch)
        if len(self.ended) > REMEMBERED:
            del self.ended[next(iter(self.ended))]

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        for run_id, share in self.shares.items():
            assert self._ended_epoch(run_id) < share.epoch
            assert share.inputs.keys() <= share.missing.keys() <= share.route.missing.keys()
            assert all(count > 0 for count in share.missing.values())
            assert share.left >= len(share.missing)
        assert self.stopped is None or len(self.running) == 1
        self.routes.validate()
        assert len(self.ended) <= REMEMBERED
