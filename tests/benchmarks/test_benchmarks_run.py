"""Tiny real runs of what needs nothing to be installed. Times are not looked at."""

import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.bench import Bench, Case
from benchmarks.counters import Roles, this_process
from benchmarks.measure import Contender, WrongResult
from benchmarks.ours.cluster import Cloudburst
from benchmarks.peers import load as load_peer
from benchmarks.record import Chapter, read
from benchmarks.system import System
from benchmarks.tasks import same
from benchmarks.work import Arrays, Burst, Chain, Fan, Noop, Prediction, TwoFunctions, Work

NOOP = Case("no-op call", Noop())
QUICK = (
    NOOP,
    Case("chain", Chain(5), 5),
    Case("fan", Fan(3), 3),
    Case("burst", Burst(10, 2), 1),
    Case("burst of two clients", Burst(10, 2, clients=2), 2),
    Case("arrays", Arrays(80_000), 80_000),
    Case("prediction", Prediction()),
)


class Still(System):
    """In the place of Cloudburst: calls in this process."""

    name = "still"

    def start(self) -> None: ...
    def stop(self) -> None: ...

    def roles(self) -> Roles:
        return this_process()

    def contenders(self, work: Work) -> list[Contender]:
        return [Contender("still", same, same, this_process)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDBURST_LOG", "ERROR")


@pytest.fixture
def bench() -> Bench:
    return Bench(Chapter("some"), ("processes",), quick=True, say=lambda _: None)


def test_calls_beside_floors_and_a_pool_of_processes(bench: Bench) -> None:
    bench.compare(QUICK, ["processes", "ray"])

    chapter = bench.chapter
    assert chapter.notes == []
    floors = [each.case for each in chapter.sessions if each.beside == "floors"]
    assert floors == [case.name for case in QUICK]
    pooled = {each.case for each in chapter.sessions if each.beside == "processes"}
    assert pooled == {"no-op call", "chain", "fan", "burst"}
    first = chapter.sessions[0]
    names = [each.contender for each in first.series]
    assert names == [
        *("cloudburst, direct", "cloudburst, future"),
        *("Python call", "pyzmq relay", "redis-py SET + GET"),
    ]
    direct, future, *_ = (each.blocks for each in first.series)
    assert {"client", "scheduler", "executor", "store"} <= direct[0].used.keys()
    assert future[0].commands


def test_peer_that_is_not_installed_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_peer("processes"), "modules", ("no_such_module",))

    assert [*bench.wanted(["processes", "ray"])] == []
    assert bench.chapter.notes == ["processes skipped: no_such_module not installed"]


def test_peer_that_fails_is_noted_and_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such luck")

    monkeypatch.setattr(load_peer("processes"), "make", fail)
    bench.compare([NOOP], ["processes"], Still)

    assert bench.chapter.notes == ["processes did not start: OSError: no such luck"]
    assert [each.beside for each in bench.chapter.sessions] == ["floors"]


def test_wrong_result_of_a_peer_stops_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = load_peer("processes")
    honest = peer.contenders

    def lying(self: object, work: Work) -> list[Contender]:
        return [each._replace(call=lambda _: -1) for each in honest(self, work)]  # type: ignore[arg-type]

    monkeypatch.setattr(peer, "contenders", lying)

    with pytest.raises(WrongResult, match="processes made -1"):
        bench.compare([NOOP], ["processes"], Still)


def test_messages_are_counted(bench: Bench) -> None:
    bench.count_messages(Case("two functions", TwoFunctions()))

    assert bench.chapter.messages == {
        "two functions": {"cloudburst, direct": 4.0, "cloudburst, future": 4.0}
    }


def test_first_result_is_a_program() -> None:
    assert Cloudburst.first_result.strip()


def test_run_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, page = tmp_path / "record.json", tmp_path / "page.md"
    workloads = ["edge", "transport"]

    main(["run", *workloads, "--quick", "--peers", "--out", str(record)])
    main(["report", str(record), "--page", str(page)])

    assert [each.workload for each in read(record).chapters] == workloads
    assert "## Edge" in page.read_text()
    assert f"written: {page}" in capsys.readouterr().out


def test_unknown_workloads_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "nonsense"])

    assert "no workload nonsense" in capsys.readouterr().err


def test_peers_are_imported_only_when_asked_for() -> None:
    main(["list"])

    assert not {"ray", "distributed", "celery", "dramatiq", "loky"} & sys.modules.keys()
