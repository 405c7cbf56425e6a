"""Has hosts fetch what runs refer to before these read it. No I/O, no clock.

There is time for that while a run waits for room, and while the steps before the one that reads
are executed. Whatever comes of it, runs read as if nothing had been fetched.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from cloudburst.core.hosts import Prefetch
from cloudburst.core.messages import RunState
from cloudburst.scheduler.holdings import Holdings
from cloudburst.scheduler.homes import Homes
from cloudburst.scheduler.membership import Executor, Membership
from cloudburst.scheduler.run import Run
from cloudburst.scheduler.turn import Turn

RECENT = 5.0
"""Seconds in which a host is not told again to fetch the same."""

MOST_RECENT = 10_000
"""Orders remembered for that."""

MOST_WAITING = 1000
"""Runs that wait, and whose turn to be prepared has not come."""

MOST_NAMES = 100
"""Objects that are fetched for one run."""


class Foresight:
    """Orders what runs are about to read.

    Args:
        turn: where orders go.
        members: the hosts and executors.
        homes: which executors keep instances, that runs wait for.
        holdings: what hosts have already.
    """

    def __init__(self, turn: Turn, members: Membership, homes: Homes, holdings: Holdings) -> None:
        self._turn = turn
        self._members = members
        self._homes = homes
        self._holdings = holdings
        self._waiting: deque[Run] = deque(maxlen=MOST_WAITING)
        self._prepared: list[Run] = []
        self._recent: dict[tuple[str, str], float] = {}

    @property
    def has_more(self) -> bool:
        """Whether runs wait for which nothing was fetched yet."""
        return bool(self._waiting)

    def begins(self, run: Run) -> None:
        """A run was sent to its executors: what later steps read may come while others run."""
        plan = run.plan
        if len(plan.steps) == 1:
            return
        orders = defaultdict[str, list[str]](list)
        for step, name in run.referred():
            segment = plan.segment_of[step]
            at_once = not plan.segments[segment].parents and plan.segments[segment].steps[0] == step
            if not at_once:
                orders[run.placed_on[segment].host].append(name)
        for host, names in orders.items():
            self._order(host, names)

    def waits(self, run: Run) -> None:
        """A run waits for room: if it is one of the next, what it reads first may come."""
        if run.foreseen or run.call.warm:
            return
        run.foreseen = True
        self._waiting.append(run)
        self.go_on()

    def go_on(self) -> None:
        """Prepare as many runs as there are executors: more of them than that begin later."""
        if len(self._prepared) >= len(self._members.executors):
            self._prepared = [run for run in self._prepared if _waits(run)]
        while self._waiting and len(self._prepared) < len(self._members.executors):
            run = self._waiting.popleft()
            if _waits(run):
                self._prepared.append(run)
                self._prepare(run)

    def _prepare(self, run: Run) -> None:
        plan = run.plan
        heads = {segment.steps[0] for segment in plan.segments if not segment.parents}
        names = [name for step, name in run.referred() if step in heads]
        executors = self._candidates(run)
        if not (names and executors):
            return
        held, now = self._holdings.bytes_at(names), self._turn.now
        best = min(executors, key=lambda e: (-held.get(e.host, 0), e.load_at(now), e.order))
        self._order(best.host, names)

    def _candidates(self, run: Run) -> list[Executor]:
        """The executors that it may begin on."""
        executors, plan = self._members.executors, run.plan
        homes = [executors[name] for name in self._homes.of(plan, 0) if name in executors]
        needs = plan.head(0).needs
        return homes or [executor for executor in executors.values() if executor.has(needs)]

    def _order(self, host: str, names: Iterable[str]) -> None:
        missing = [name for name in dict.fromkeys(names) if self._is_news(host, name)]
        if missing:
            self._turn.send(host, Prefetch(tuple(missing[:MOST_NAMES])))

    def _is_news(self, host: str, name: str) -> bool:
        """Whether a host does not have an object, and was not told lately to fetch it."""
        if self._holdings.has(host, name):
            return False
        now, order = self._turn.now, (host, name)
        before = self._recent.pop(order, None)
        if before is not None and now < before + RECENT:
            self._recent[order] = before
            return False
        self._recent[order] = now
        if len(self._recent) > MOST_RECENT:
            del self._recent[next(iter(self._recent))]
        return True

    def validate(self) -> None:
        """Check that it keeps within its bounds."""
        assert len(self._waiting) <= MOST_WAITING
        assert len(self._recent) <= MOST_RECENT
        # Not by their ids: of one that has ended, and was called again, both may be there.
        assert len(set(self._prepared)) == len(self._prepared)


def _waits(run: Run) -> bool:
    return run.state is RunState.PENDING
