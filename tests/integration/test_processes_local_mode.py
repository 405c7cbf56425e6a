"""What a user starts: ``LocalCluster``, ``python local_mode.py`` and ``python -m cloudburst``."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from watching import family, files_under, next_line, role_of, wait_gone, wait_until

from cloudburst.cli import main
from cloudburst.client.client import CloudburstConnection
from cloudburst.errors import ClusterError
from cloudburst.launch import local_address
from cloudburst.local import LocalCluster

LOCAL_MODE = str(Path(__file__).parents[2] / "local_mode.py")


def run(*command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture
def local_mode() -> Iterator["subprocess.Popen[str]"]:
    """``python local_mode.py``, running, in a process group as a terminal would make it."""
    process = subprocess.Popen(
        [sys.executable, LOCAL_MODE, "--executors", "1"],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_the_demo_prints_what_it_computes(run_dir: Path) -> None:
    ended = run(LOCAL_MODE, "--demo", "--executors", "2")

    assert ended.returncode == 0, ended.stderr
    lines = [re.split(r"\s{2,}", line) for line in ended.stdout.splitlines()]
    assert [value for *_, value in lines] == ["2", "4", "True", "4", "15"]
    assert lines[0][0] == "cloud_incr(1).get()"
    assert ended.stderr == ""
    assert files_under(run_dir) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_shared_cluster_stays_until_it_is_told_to_end(
    local_mode: "subprocess.Popen[str]", run_dir: Path, number: signal.Signals
) -> None:
    address = next_line(local_mode).split()[-1]
    processes = family(local_mode.pid)
    assert local_address() == address
    with CloudburstConnection(local=True) as cloudburst:
        assert cloudburst.register(lambda _, a: a + 1, "incr")(1).get(10) == 2

    # As a terminal does: to everybody in the group.
    os.killpg(local_mode.pid, number)

    assert local_mode.wait(5.0) == 0
    wait_gone(processes, 1.0)
    assert files_under(run_dir) == []
    assert local_address() is None


def test_it_prints_how_to_connect(local_mode: "subprocess.Popen[str]") -> None:
    next_line(local_mode)
    wait_until(lambda: "Ctrl-C" in next_line(local_mode), "the last line comes")

    local_mode.send_signal(signal.SIGINT)
    assert local_mode.wait(5.0) == 0


def test_a_second_shared_cluster_is_refused_and_says_where_the_first_is(
    local_mode: "subprocess.Popen[str]",
) -> None:
    address = next_line(local_mode).split()[-1]

    second = run("-m", "cloudburst", "up")

    assert second.returncode == 1
    assert f"your local cluster is running already: {address}" in second.stderr
    assert second.stdout == ""
    assert local_address() == address
    local_mode.send_signal(signal.SIGINT)
    local_mode.wait(5.0)


def test_a_shared_cluster_that_dies_is_not_waited_for(
    local_mode: "subprocess.Popen[str]", run_dir: Path
) -> None:
    next_line(local_mode)
    store = next(p for p in family(local_mode.pid) if role_of(p) == "store")

    store.kill()

    assert local_mode.wait(5.0) == 1
    assert files_under(run_dir) == []


def test_a_cluster_is_a_context(run_dir: Path) -> None:
    with LocalCluster(1) as cluster, cluster.connect() as cloudburst:
        square = cloudburst.register(lambda _, a: a * a, "square")
        assert square(3).get(10) == 9
        assert repr(cluster) == f"<LocalCluster {cluster.address} owned by process {os.getpid()}>"

    assert "closed" in repr(cluster)
    assert not cluster.owned
    assert files_under(run_dir) == []


def test_two_private_clusters_know_nothing_of_each_other() -> None:
    with LocalCluster(1) as one, LocalCluster(1) as two:
        with one.connect() as first, two.connect() as second:
            first.put_object("key", "of one")
            assert first.get_object("key") == "of one"
            assert second.get_object("key") is None
        assert local_address() is None


def test_a_shared_cluster_is_joined_and_left_running() -> None:
    with LocalCluster(1, shared=True) as owner:
        with LocalCluster(shared=True) as guest:
            assert guest.address == owner.address
            assert not guest.owned
            assert "joined" in repr(guest)
        assert local_address() == owner.address


def test_data_outlives_the_cluster_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in (None, [1, 2]):
        with LocalCluster(1, data_dir="data") as cluster, cluster.connect() as cloudburst:
            assert cloudburst.get_object("key") == expected
            cloudburst.put_object("key", [1, 2])

    assert (tmp_path / "data").is_dir()


def test_functions_find_the_modules_of_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here_43.py").write_text("def answer(_): return 43\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here_43

    with LocalCluster(1) as cluster, cluster.connect() as cloudburst:
        assert cloudburst.register(only_here_43.answer, "answer")().get(10) == 43


def test_a_function_that_kills_its_executor_leaves_a_working_cluster() -> None:
    with LocalCluster(2) as cluster, cluster.connect() as cloudburst:
        deadly = cloudburst.register(lambda _: os._exit(3), "deadly")
        harmless = cloudburst.register(lambda _: os.getpid(), "harmless")

        error = deadly().exception(30)

        assert "exit code 3" in str(error)
        assert harmless().get(10) > 0


def test_closing_interrupts_a_function_that_runs(run_dir: Path) -> None:
    with LocalCluster(1) as cluster, cluster.connect() as cloudburst:
        started = run_dir / "started"

        def forever(_: object, path: str) -> None:
            Path(path).touch()
            while True:
                pass

        cloudburst.register(forever, "forever")(str(started))
        wait_until(started.exists, "the function runs")
        processes = family(os.getpid())
        cluster.close()
        wait_gone(processes, 0.5)
    started.unlink()


def test_the_folder_of_a_cluster_that_cannot_start_is_named(run_dir: Path) -> None:
    run_dir.chmod(0o755)

    with pytest.raises(ClusterError, match=f"{run_dir} can be entered by others"):
        LocalCluster(1)
    run_dir.chmod(0o700)


def test_version() -> None:
    ended = run("-m", "cloudburst", "--version")

    assert ended.returncode == 0
    assert re.fullmatch(r"cloudburst \d+\.\d+\.\d+\n", ended.stdout)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["scheduler"], "scheduler needs --kvs (or --config)"),
        (["host", "--kvs", "unix://x"], "host needs --scheduler, --bind"),
        (["host", "--config", "{"], "the configuration is not JSON"),
        (["host", "--config", '{"colour": 1}'], "HostConfig has no colour"),
        (["scheduler", "--kvs", "redis://x", "--address", "ipc:///no/where"], "/no/where"),
        (
            ["host", "--scheduler", "ipc:///x", "--kvs", "unix:///x", "--bind", "tcp://::1"],
            "executors cannot be bound at tcp://::1",
        ),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said(arguments: list[str], text: str) -> None:
    ended = run("-m", "cloudburst", *arguments)

    assert ended.returncode == 1
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])

    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_command_line_imports_no_server() -> None:
    """Each process of a cluster begins with it and pays for what it imports."""
    heavy = ["numpy", "redis", "zmq", "networkx", "cloudpickle", "msgpack", "asyncio"]

    ended = run(
        "-c", f"import cloudburst.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    )

    assert ended.stdout == "[]\n"
