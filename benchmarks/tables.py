"""Tables of a record, in Markdown. Times are those of medians over blocks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from benchmarks.bars import Verdict
from benchmarks.measure import Block, Ratio
from benchmarks.record import Chapter, Series, Session


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; the first column is text, the others are numbers."""
    align = [":--", *["--:"] * (len(head) - 1)]
    return [_row(each) for each in (head, align, *rows)]


def bars(found: Sequence[Verdict]) -> list[str]:
    """Every bar: what was seen, what it had to be, and whether it was."""
    rows = []
    for verdict in found:
        bar = verdict.bar
        sign = "≥" if bar.faster else "≤"
        unit = "x" if bar.faster else f" {bar.unit[0]}" if bar.unit[0] else ""
        said = {True: "met", False: "**not met**", None: "not measured"}[verdict.met]
        where = f" (worst: {verdict.case})" if verdict.case else ""
        seen = _interval(verdict.seen, unit) if verdict.seen else ""
        rows.append([f"{bar.what}{where}", seen, f"{sign} {_number(bar.most)}{unit}", said])
    return table(["what", "seen", "bar", ""], rows)


def details(chapter: Chapter, case: str) -> list[str]:
    """One case: a line for each contender, with its times, its costs and how it compares."""
    rows = []
    for series, session in _contenders(chapter, case):
        reference = session.series[0].contender
        compared = session.ratio(series.contender, reference)
        messages = chapter.messages.get(case, {}).get(series.contender)
        same = compared is None or series.contender == reference
        rows.append(
            [
                series.contender,
                figure(_median(series.blocks, lambda block: block.p50), series.unit),
                figure(_median(series.blocks, lambda block: block.p99), series.unit),
                "1" if same or compared is None else _interval(compared, ""),
                _cost(series, lambda block: sum(u.cpu for u in block.used.values()), 1e6),
                _cost(series, lambda block: sum(u.switches for u in block.used.values()), 1),
                "" if messages is None else _number(messages / series.each),
                _commands(series),
                f"{len(series.blocks)} of {_calls(series)}",
            ]
        )
    head = ["", "median", "p99", "times the first", "CPU µs", "switches", "messages", "commands"]
    return table([*head, "blocks of calls"], rows)


def overview(chapter: Chapter) -> list[str]:
    """All cases of a workload: a line for each, with the median of each contender."""
    names = list(dict.fromkeys(each.contender for s in chapter.sessions for each in s.series))
    rows = []
    for case in cases(chapter):
        found = {series.contender: series for series, _ in _contenders(chapter, case)}
        medians = [
            figure(_median(found[name].blocks, lambda block: block.p50), found[name].unit)
            if name in found
            else ""
            for name in names
        ]
        rows.append([case, *medians])
    return table(["median", *names], rows)


def cases(chapter: Chapter) -> list[str]:
    """The cases of a workload, in their order."""
    return list(dict.fromkeys(session.case for session in chapter.sessions))


def points(chapter: Chapter) -> dict[str, list[tuple[float, float]]]:
    """For a plot: the medians in microseconds of each contender, by what the cases differ in."""
    found: dict[str, list[tuple[float, float]]] = {}
    for case in cases(chapter):
        for series, session in _contenders(chapter, case):
            if session.at is not None and series.unit == "s":
                median = _median(series.blocks, lambda block: block.p50) * 1e6
                found.setdefault(series.contender, []).append((session.at, median))
    return {name: line for name, line in found.items() if len(line) > 1}


def figure(value: float, unit: str) -> str:
    """A figure for people: three digits that count, and a unit."""
    if unit != "s":
        return f"{_number(value)} {unit}"
    for limit, factor, name in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms")):
        if value >= limit:
            return f"{_number(value * factor)} {name}"
    return f"{_number(value * 1e6)} µs"


def _contenders(chapter: Chapter, case: str) -> Iterator[tuple[Series, Session]]:
    """Each contender of a case once, in the session in which it was first.

    Ours take part in all; in the first they had no peer beside them.
    """
    seen = set()
    for session in chapter.sessions:
        for series in session.series if session.case == case else ():
            if series.contender not in seen:
                seen.add(series.contender)
                yield series, session


def _median(blocks: Sequence[Block], of: Callable[[Block], float]) -> float:
    return statistics.median(map(of, blocks))


def _cost(series: Series, of: Callable[[Block], float], factor: float) -> str:
    """Of a part of a call; empty if nothing was counted."""
    if not any(block.used for block in series.blocks):
        return ""
    cost = _median(series.blocks, lambda block: of(block) / block.calls / series.each)
    return _number(cost * factor)


def _commands(series: Series) -> str:
    counted = [
        block.commands / block.calls / series.each
        for block in series.blocks
        if block.commands is not None
    ]
    return _number(statistics.median(counted)) if counted else ""


def _calls(series: Series) -> str:
    """Of a block, and in how many parts each was divided."""
    calls = f"{int(_median(series.blocks, lambda block: block.calls)):,}"
    return calls if series.each == 1 else f"{calls} x {series.each:,}"


def _interval(seen: Ratio, unit: str) -> str:
    return f"{_number(seen.value)}{unit} [{_number(seen.low)}, {_number(seen.high)}]"


def _number(value: float) -> str:
    """Three digits that count, and never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return "0" if abs(value) < 5e-7 else f"{value:.3g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
