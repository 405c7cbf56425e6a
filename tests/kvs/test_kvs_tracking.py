"""What a server tells of changes, and what is made of its silence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from proxy import proxy_to
from served import secured
from stores import Admin, kill, open_files, stopped, store_at, wait_until

from cloudburst.errors import UsageError
from cloudburst.kvs.base import Delete, Peek, Put
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.redis import RedisStore
from cloudburst.kvs.tracking import (
    HEAD,
    SILENCE,
    Blind,
    Changed,
    Complete,
    Looked,
    News,
    Tracking,
)


@dataclass
class Ear:
    """A tracking connection, and all that it has told."""

    tracking: Tracking
    heard: list[News] = field(default_factory=list)

    def until(self, condition: Callable[[], object], what: str) -> None:
        def listen() -> object:
            self.heard.extend(self.tracking.news())
            return condition()

        wait_until(listen, what)

    def look(self, key: str) -> Looked:
        """Look at a key, and wait for the answer."""
        token = object()
        assert self.tracking.look(key, token)
        self.until(lambda: self.looked(token), f"{key} was looked at")
        (found,) = self.looked(token)
        return found

    def looked(self, token: object) -> list[Looked]:
        return [news for news in self.heard if isinstance(news, Looked) and news.token is token]

    def changed(self) -> list[str]:
        return [key for news in self.heard if isinstance(news, Changed) for key in news.keys]

    def count(self, kind: type) -> int:
        return sum(isinstance(news, kind) for news in self.heard)


@pytest.fixture
def ear(private_server: EmbeddedServer) -> Iterator[Ear]:
    ear = Ear(Tracking(private_server.url))
    ear.until(lambda: ear.count(Complete), "it is connected")
    yield ear
    ear.tracking.close()


def test_a_look_gives_the_beginning_of_a_value(ear: Ear, store: RedisStore) -> None:
    store.execute([Put("short", b"value"), Put("long", b"x" * 100_000), Put("passes", b"v", 60.0)])

    assert ear.look("short")[1:] == (b"value", math.inf)
    assert ear.look("long").head == b"x" * HEAD == store.execute([Peek("long", HEAD)])[0]
    assert ear.look("missing").head == b""
    assert 50.0 < ear.look("passes").left <= 60.0


def test_behind_tls_for_a_user_with_no_more_rights_than_the_page_on_stores_says() -> None:
    with secured() as served, store_at(served.url, 10.0) as store:
        ear = Ear(Tracking(served.url))
        ear.until(lambda: ear.count(Complete), "it is connected")
        key = object_key("k")
        store.execute([Put(key, b"x" * 100_000)])
        assert ear.look(key).head == b"x" * HEAD
        store.execute([Put(key, b"y")])
        ear.until(ear.changed, "the change is told")
        ear.tracking.close()

    assert ear.changed() == [key]


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster", "redis+sentinel"])
def test_several_servers_tell_of_no_changes(scheme: str) -> None:
    with pytest.raises(UsageError, match="does not name a store"):
        Tracking(f"{scheme}://127.0.0.1:1/service")


def test_what_cannot_be_looked_at_has_no_beginning(ear: Ear, admin: Admin) -> None:
    admin("SADD", "set", "member")
    assert ear.look("set").head == b""
    assert ear.count(Blind) == 0


@pytest.mark.parametrize("change", ["put", "delete", "expire", "append", "rename", "persist"])
def test_changes_of_what_was_looked_at_are_told(
    ear: Ear, store: RedisStore, admin: Admin, change: str
) -> None:
    store.execute([Put("k", b"before", 60.0), Put("other", b"v")])
    ear.look("k")
    match change:
        case "put":
            store.execute([Put("k", b"after")])
        case "delete":
            store.execute([Delete("k")])
        case "expire":
            admin("PEXPIRE", "k", "100000")
        case "append":
            admin("APPEND", "k", "!")
        case "rename":
            admin("RENAME", "k", "elsewhere")
        case _:
            admin("PERSIST", "k")

    ear.until(ear.changed, "the change is told")

    assert set(ear.changed()) <= {"k", "elsewhere"}


def test_a_key_that_expires_is_told_of(ear: Ear, store: RedisStore) -> None:
    store.execute([Put("k", b"v", 0.05)])
    assert ear.look("k").left <= 0.05
    ear.until(lambda: ear.changed() == ["k"], "it has expired")


def test_keys_that_nobody_looked_at_are_not_told_of(ear: Ear, store: RedisStore) -> None:
    store.execute([Put("k", b"v"), Put("k", b"w")])
    complete = ear.count(Complete)
    ear.until(lambda: ear.count(Complete) > complete + 1, "all is told")
    assert ear.changed() == []


def test_after_a_change_a_key_has_to_be_looked_at_again(ear: Ear, store: RedisStore) -> None:
    for number in range(3):
        store.execute([Put("k", b"%d" % number)])
        assert ear.look("k").head == b"%d" % number
        store.execute([Put("k", b"x"), Put("k", b"y")])
        told = ["k"] * (number + 1)
        ear.until(lambda told=told: ear.changed() == told, "one change is told")  # type: ignore[misc]
    assert ear.changed() == ["k"] * 3


def test_any_text_is_a_key(ear: Ear, store: RedisStore) -> None:
    for key in ("with spaces\r\n", "ä\0", "\udce9", "k" * 1000):
        store.execute([Put(key, b"v")])
        assert ear.look(key).head == b"v"
        store.execute([Put(key, b"w")])
        ear.until(lambda key=key: key in ear.changed(), "the change is told")  # type: ignore[misc]


def test_when_all_is_deleted_all_may_have_changed(
    ear: Ear, store: RedisStore, admin: Admin
) -> None:
    store.execute([Put("k", b"v")])
    ear.look("k")
    admin("FLUSHALL")
    ear.until(lambda: ear.count(Blind), "everything is gone")


def test_a_change_is_told_before_it_is_said_that_all_were(ear: Ear, store: RedisStore) -> None:
    for number in range(20):
        ear.look("k")
        ear.heard.clear()
        store.execute([Put("k", b"%d" % number)])
        ear.until(lambda: ear.count(Complete) > 1, "all is told")
        first = next(n for n, news in enumerate(ear.heard) if isinstance(news, Changed))
        said = [n for n, news in enumerate(ear.heard) if isinstance(news, Complete)]
        assert first < said[1]


def test_a_server_that_dies_and_comes_back(
    ear: Ear, store: RedisStore, private_server: EmbeddedServer
) -> None:
    store.execute([Put("k", b"v")])
    ear.look("k")
    kill(private_server)
    ear.until(lambda: ear.count(Blind), "the end of the connection")
    assert not ear.tracking.is_open
    assert not ear.tracking.look("k", "in vain")
    private_server.start()
    complete = ear.count(Complete)
    ear.until(lambda: ear.count(Complete) > complete, "it is connected again")

    store.execute([Put("k", b"w")])
    assert ear.look("k").head == b"w"
    store.execute([Put("k", b"x")])
    ear.until(lambda: ear.changed() == ["k"], "changes are told again")


def test_a_server_that_stands_still(private_server: EmbeddedServer) -> None:
    now = 1000.0
    ear = Ear(Tracking(private_server.url, lambda: now))
    ear.until(lambda: ear.count(Complete), "it is connected")
    (said,) = (news for news in ear.heard if isinstance(news, Complete))
    assert said.until == 1000.0
    with stopped(private_server):
        now += 0.3
        assert list(ear.tracking.news()) == []
        now += SILENCE
        ear.until(lambda: ear.count(Blind) == 1, "it is given up")
        assert not ear.tracking.is_open
    now += 10.0
    complete = ear.count(Complete)
    ear.until(lambda: ear.count(Complete) > complete, "it is connected again")
    ear.tracking.close()


def test_a_connection_that_passes_nothing_on(
    private_server: EmbeddedServer, store: RedisStore, short_dir: Path
) -> None:
    with proxy_to(private_server, short_dir) as proxy:
        ear = Ear(Tracking(proxy.url))
        ear.until(lambda: ear.count(Complete), "it is connected")
        ear.look("k")
        proxy.go_deaf()
        store.execute([Put("k", b"w")])
        ear.until(lambda: ear.count(Blind), "it is given up")
        assert ear.changed() == []
        ear.tracking.close()


def test_a_server_that_is_not_there_is_looked_for_without_haste(short_dir: Path) -> None:
    now = 1000.0
    tracking = Tracking(f"unix://{short_dir}/nothing", lambda: now)
    files = open_files()
    pauses = []
    for _ in range(10):
        assert list(tracking.news()) == []
        pauses.append(round(tracking.next_deadline() - now, 3))
        now = tracking.next_deadline()

    assert pauses == sorted(pauses)
    assert pauses[0] < 0.1
    assert pauses[-1] == pauses[-2] == 0.5
    assert open_files() == files


def test_a_server_that_tells_of_no_changes(
    private_server: EmbeddedServer, admin: Admin, store: RedisStore
) -> None:
    admin("ACL", "SETUSER", "default", "-client|tracking")
    ear = Ear(Tracking(private_server.url))
    ear.until(lambda: ear.count(Blind) >= 2, "it is tried again and again")
    assert ear.count(Complete) == 0
    ear.tracking.close()


def test_what_names_no_server() -> None:
    with pytest.raises(UsageError, match="does not name a store"):
        Tracking("http://elsewhere")
