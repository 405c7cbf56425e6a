"""A record on disk, its bars, tables and pictures."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
from recorded import chain, record, series, two_functions

from benchmarks import page, svg, tables
from benchmarks.bars import BARS, verdicts
from benchmarks.bench import Bench, Case
from benchmarks.measure import Ratio
from benchmarks.peers import PEERS
from benchmarks.record import Chapter, Session, joined, machine, read, write
from benchmarks.workloads import described, load, names


def test_record_comes_back_as_it_was(tmp_path: Path) -> None:
    before = record(two_functions(1e-3, 2e-3), chain(), quick=True)

    write(before, tmp_path / "new" / "record.json")

    assert read(tmp_path / "new" / "record.json") == before


def test_other_files_are_refused(tmp_path: Path) -> None:
    for text in ("[]", '{"format": 0}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="is not a record of format"):
            read(tmp_path / "other.json")


def test_last_of_a_workload_counts() -> None:
    old, new = record(two_functions(1.0, 2.0), chain()), record(two_functions(3.0, 4.0))

    found = joined([old, new])

    assert found.chapters == [two_functions(3.0, 4.0), chain()]
    assert not found.quick


def test_records_of_other_machines_are_not_joined() -> None:
    other = record()
    other.machine = {**other.machine, "cores": 3}

    with pytest.raises(ValueError, match="different machines"):
        joined([record(), other])
    with pytest.raises(ValueError, match="no record"):
        joined([])


def test_machine_is_described() -> None:
    found = machine()

    assert found["cores"] > 0
    assert found["versions"]["numpy"]
    assert found["versions"]["cloudburst"]


@pytest.mark.parametrize(("direct", "met"), [(0.9e-4, True), (1.1e-4, False)])
def test_bar_is_computed_from_the_record(direct: float, met: bool) -> None:
    found = {each.bar.what: each for each in verdicts(record(two_functions(direct, 1e-3)))}

    tasks = found["two functions, direct / Ray tasks"]
    assert tasks.seen is not None
    assert tasks.seen.value == pytest.approx(direct / 1e-3)
    assert tasks.met is met
    assert found["two functions, direct / Dask"].met is None


def test_fastest_of_several_counts() -> None:
    chapter = two_functions(1.3e-3, 1.0)
    case = chapter.sessions[0].case
    for name, median in (("ray graph, 1 actor", 0.9e-3), ("ray graph, 2 actors", 5e-3)):
        found = [series("cloudburst, direct", 1.3e-3), series(name, median)]
        chapter.sessions.append(Session(case, None, "ray-graph", found))

    (graph,) = [each for each in verdicts(record(chapter)) if "Compiled" in each.bar.what]

    assert graph.seen is not None
    assert graph.seen.value == pytest.approx(1.3 / 0.9)
    assert graph.met is False


def test_figure_of_its_own_has_its_unit() -> None:
    (step,) = [each for each in verdicts(record(chain())) if each.bar.what == "a step of 1,000"]

    assert step.seen is not None
    assert step.seen.value == pytest.approx(1.0)  # microseconds
    assert step.met is True


def test_faster_is_shown_as_times() -> None:
    found = [series("cloudburst, futures", 1e-4), series("celery", 1e-3)]
    chapter = Chapter("throughput", [Session("no-op", None, "celery", found)])

    (celery,) = [each for each in verdicts(record(chapter)) if "Celery" in each.bar.what]

    assert celery.seen is not None
    assert celery.seen.value == pytest.approx(10.0)
    assert celery.met is True
    assert "| 10.0x [10.0, 10.0] | ≥ 5.00x | met |" in tables.bars([celery])[2]


def test_worst_case_counts_where_all_must_hold() -> None:
    sessions = [
        Session(
            f"{size} KB",
            size,
            "floors",
            [
                series("cloudburst hot, in the function", 1e-3 + over),
                series("NumPy in this process", 1e-3),
            ],
        )
        for size, over in ((80, 1e-4), (800, 3e-4))
    ]
    found = verdicts(record(Chapter("locality", sessions)))

    (above,) = [each for each in found if each.bar.over]

    assert above.seen == pytest.approx(Ratio(300.0, 300.0, 300.0))
    assert (above.case, above.met) == ("800 KB", False)


def test_bars_name_workloads_that_there_are() -> None:
    assert {bar.workload for bar in BARS} <= set(names())


class Listener(Bench):
    """Runs nothing, and hears which cases would be run."""

    def __init__(self) -> None:
        super().__init__(Chapter("some"))
        self.heard: list[str] = []

    def compare(self, cases: Sequence[Case], *_: object, **__: object) -> None:
        self.heard += [case.name for case in cases]

    def count_messages(self, case: Case) -> None:
        assert case.work


@pytest.mark.parametrize(
    "workload", ["two_functions", "noop", "chain", "fan", "throughput", "locality", "edge"]
)
def test_bars_name_cases_that_there_are(workload: str) -> None:
    listener = Listener()
    load(workload)(listener)

    wanted = {bar.case for bar in BARS if bar.workload == workload} - {""}
    assert wanted <= set(listener.heard)


def test_page_has_bars_tables_and_pictures(tmp_path: Path) -> None:
    found = record(two_functions(1e-3, 2e-3), chain(), quick=True)

    written = page.write(found, tmp_path / "benchmarks.md")

    assert written == [tmp_path / "benchmarks.md", tmp_path / "plots" / "chain.svg"]
    text = written[0].read_text()
    assert "`--quick` run" in text
    assert "](plots/chain.svg)" in text
    assert "Abacus" in text
    assert "- dask skipped" in text
    assert "| cloudburst, direct | 1.00 ms | 2.00 ms | 1 | 600 | 4.00 | 4.00 |" in text
    assert re.search(r"\| ray task \| 2\.00 ms .* \| 2\.00 \[2\.00, 2\.00\] \|", text)
    assert_tables_are_well_formed(text)


def assert_tables_are_well_formed(text: str) -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(blocks) >= 3
    for block in blocks:
        lines = block.splitlines()
        assert re.fullmatch(r"\|( :?-+:? \|)+", lines[1])
        assert len({line.count("|") for line in lines}) == 1


def test_picture_is_well_formed() -> None:
    picture = svg.plot("a < b", "x", "y & z", {"one": [(1, 1), (100, 30)], "two": [(10, 2000)]})

    root = ET.fromstring(picture)

    tags = [each.tag.rpartition("}")[2] for each in root.iter()]
    assert (tags.count("polyline"), tags.count("circle")) == (2, 3)
    texts = {each.text for each in root.iter() if each.tag.endswith("text")}
    assert {"a < b", "y & z", "one", "two", "1", "10", "100", "1 k", "10 k"} <= texts
    for circle in (each for each in root.iter() if each.tag.endswith("circle")):
        assert 0 < float(circle.attrib["cx"]) < svg.WIDTH
        assert 0 < float(circle.attrib["cy"]) < svg.HEIGHT


def test_picture_of_nothing_is_refused() -> None:
    for lines in ({}, {"zero": [(0.0, 1.0)]}):
        with pytest.raises(ValueError, match="no points"):
            svg.plot("", "", "", lines)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (1.5, "s", "1.50 s"),
        (0.0123, "s", "12.3 ms"),
        (4.56e-6, "s", "4.56 µs"),
        (1234.5, "MB", "1,234 MB"),
        (0.0, "%", "0 %"),
    ],
)
def test_figures_have_three_digits(value: float, unit: str, said: str) -> None:
    assert tables.figure(value, unit) == said


@pytest.mark.parametrize("name", names())
def test_workload_says_what_it_measures(name: str) -> None:
    assert described(name).splitlines()[0].endswith((".", ":", ","))
    assert callable(load(name))


def test_peers_are_not_imported_by_their_names() -> None:
    assert {"ray", "dask", "processes", "loky", "celery"} <= PEERS.keys()
