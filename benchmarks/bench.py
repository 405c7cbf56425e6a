"""What workloads are run with: who takes turns with whom, how often, and where it is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.crowd import Crowd
from benchmarks.floors import Floors
from benchmarks.measure import QUICK, Contender, Effort, WrongResult, interleave
from benchmarks.ours.cluster import Cloudburst
from benchmarks.ours.messages import messages_per_call
from benchmarks.peers import Peer, load
from benchmarks.record import Chapter, Series, Session
from benchmarks.system import System
from benchmarks.work import Burst, Work


def at_once(line: str) -> None:
    """Print a line that whoever looks at a file sees, too."""
    print(line, flush=True)


MANY = Effort(blocks=5, seconds=1.0)
"""For each of many cases."""


class Case(NamedTuple):
    """One row of a workload, or one point of a plot.

    Attributes:
        name: what is done.
        work: the same for programs.
        at: the number that differs between the cases, if there are several.
    """

    name: str
    work: Work
    at: float | None = None


class Bench:
    """One workload while it is run.

    Args:
        chapter: where what it finds is noted.
        peers: names of those that take part.
        quick: whether it is only to see that everything works.
        minutes: how long a soak takes.
        say: prints a line.

    Attributes:
        chapter, quick, minutes: as given.
        effort: how much is measured of each contender.
        effort_of_many: the same for workloads that have many cases.
    """

    def __init__(
        self,
        chapter: Chapter,
        peers: Sequence[str] = (),
        *,
        quick: bool = False,
        minutes: float = 10.0,
        say: Callable[[str], None] = at_once,
    ) -> None:
        self.chapter = chapter
        self.quick = quick
        self.minutes = minutes
        self.effort = QUICK if quick else Effort()
        self.effort_of_many = self.effort if quick else MANY
        self._peers = peers
        self._say = say

    def compare(
        self,
        cases: Sequence[Case],
        peers: Sequence[str],
        ours: Callable[[], System] = Cloudburst,
        effort: Effort | None = None,
    ) -> None:
        """Measure Cloudburst in turns with the floors, and then with each peer.

        One at a time, so that what a system does while it is not asked for anything meets nobody
        but its own session.

        Args:
            cases: what is done.
            peers: names of those that can do it; those that are not wanted are left out.
            ours: makes what is compared with them.
            effort: how much is measured, in place of what is usual.
        """
        with ours() as cloud:
            floors = Floors(cloud if isinstance(cloud, Cloudburst) else None)
            self._sessions(cases, cloud, floors, effort, with_nobody=True)
            for peer in self.wanted(peers):
                self._sessions(cases, cloud, peer, effort)

    def wanted(self, names: Iterable[str]) -> Iterable[Peer]:
        """Those peers that are asked for and installed; of others that are not, a note is made."""
        for name in names:
            if name not in self._peers:
                continue
            peer = load(name)
            if missing := peer.missing():
                self.note(f"{name} skipped: {', '.join(missing)} not installed")
            else:
                yield peer()

    def turns(
        self,
        case: str,
        at: float | None,
        beside: str,
        contenders: Sequence[Contender],
        effort: Effort | None = None,
    ) -> None:
        """Let contenders take turns, and note what comes of it."""
        results = interleave(contenders, effort or self.effort)
        series = [
            Series(each.name, each.unit, each.each, results[each.name]) for each in contenders
        ]
        self.add(Session(case, at, beside, series))

    def add(self, session: Session) -> None:
        """Note a session, and print the medians."""
        self.chapter.sessions.append(session)
        for series in session.series:
            self._say(f"  {session.case:34} {series.contender:38} {_median_of(series)}")

    def note(self, what: str) -> None:
        """Note, and print, a sentence."""
        if what not in self.chapter.notes:
            self.chapter.notes.append(what)
            self._say(f"  {what}")

    def count_messages(self, case: Case) -> None:
        """Note how many messages a call needs."""
        self.chapter.messages[case.name] = messages_per_call(case.work)

    def _sessions(
        self,
        cases: Sequence[Case],
        cloud: System,
        other: System,
        effort: Effort | None,
        *,
        with_nobody: bool = False,
    ) -> None:
        """One for each case that the other can do too.

        Args:
            cases: all there are.
            cloud: ours.
            other: whom it takes turns with; it is started, and stopped.
            effort: how much is measured, in place of what is usual.
            with_nobody: whether ours is measured if the other cannot do it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(other)
            except Exception as error:  # noqa: BLE001  peers fail in ways of their own
                self.note(f"{other.name} did not start: {_brief(error)}")
                return
            for case in cases:
                try:
                    self._session(case, cloud, other, effort, with_nobody=with_nobody)
                except WrongResult:
                    raise
                except Exception as error:
                    if other.name == Floors.name:
                        raise
                    self.note(f"{other.name} failed at {case.name}: {_brief(error)}")
                    return

    def _session(
        self,
        case: Case,
        cloud: System,
        other: System,
        effort: Effort | None,
        *,
        with_nobody: bool,
    ) -> None:
        with ExitStack() as crowds:
            theirs = _contenders(other, case.work, crowds)
            if theirs or with_nobody:
                mine = _contenders(cloud, case.work, crowds)
                self.turns(case.name, case.at, other.name, [*mine, *theirs], effort)


def _contenders(system: System, work: Work, crowds: ExitStack) -> list[Contender]:
    """The ways of a system; with several clients, if it can have them."""
    if not isinstance(work, Burst) or work.clients == 1:
        return system.contenders(work)
    if not system.address:
        return []
    return crowds.enter_context(Crowd(system, work)).contenders()


def _median_of(series: Series) -> str:
    medians = sorted(block.p50 for block in series.blocks)
    median, calls = medians[len(medians) // 2], sum(block.calls for block in series.blocks)
    figure = f"{median * 1e6:12.1f} µs" if series.unit == "s" else f"{median:12.2f} {series.unit}"
    return f"{figure}   {len(series.blocks)} blocks, {calls} calls"


def _brief(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.200}"
