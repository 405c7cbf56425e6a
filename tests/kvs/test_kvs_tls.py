"""Stores behind TLS, and users who may do a part of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from grants import grant
from stores import COMMIT, collect_all, record, store_at
from tls import Certificate, make_certificate, tls_proxies
from valkeys import SERVICE, Valkey, folder, free_ports, server, watched

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Commit, Get, Put
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.opening import open_writer


@dataclass
class Behind:
    """A server with a user of its own, and the port where it is reached with TLS."""

    server: Valkey
    port: int
    certificate: Certificate
    folder: Path

    def url(self, user: str = "cb:s3cret", options: str = "") -> str:
        return f"rediss://{user}@127.0.0.1:{self.port}?{options or self.certificate.options}"


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    with folder() as directory, server() as one:
        certificate = make_certificate(directory)
        (port,) = free_ports(1)
        grant(one, "cb", "s3cret")
        with tls_proxies(certificate, [(port, one.port)]):
            yield Behind(one, port, certificate, directory)


def test_a_user_with_what_the_page_says_can_do_all_there_is(behind: Behind) -> None:
    """The conformance suite goes through all commands; this is about the keys."""
    with store_at(behind.url(), 5.0) as store:
        assert store.execute([record("r"), COMMIT._replace(output_key="out")]) == [
            True,
            Commit.STORED,
        ]
        assert store.execute([Get(object_key("out"))]) == [b"result"]
        assert store.eviction_policy() == "noeviction"
        with pytest.raises(KVSUnavailable, match=r"NOPERM.*docs/stores.md"):
            store.execute([Put("others", b"")])


@pytest.mark.parametrize("user", ["cb:wrong", "nobody:s3cret"])
def test_another_password_is_refused_and_not_shown(behind: Behind, user: str) -> None:
    with store_at(behind.url(user), 5.0) as store:
        with pytest.raises(KVSUnavailable, match=r"WRONGPASS.*Correct user and password") as caught:
            store.execute([Get("cb:k")])
        assert "wrong@" not in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_password_with_every_character(behind: Behind) -> None:
    grant(behind.server, "odd", "a/b@c:d?e#f%g")
    with store_at(behind.url("odd:a%2Fb%40c%3Ad%3Fe%23f%25g"), 5.0) as store:
        assert store.execute([Put("cb:k", b"v"), Get("cb:k")]) == [None, b"v"]


def test_a_certificate_that_nobody_vouches_for_is_refused(behind: Behind) -> None:
    other = behind.folder / "other"
    other.mkdir()
    for options in ("ssl_cert_reqs=required", make_certificate(other).options):
        with (
            store_at(behind.url(options=options)) as store,
            pytest.raises(KVSUnavailable, match="certificate verify failed"),
        ):
            store.execute([Get("cb:k")])


def test_unless_that_is_asked_for(behind: Behind) -> None:
    with store_at(behind.url(options="ssl_cert_reqs=none"), 5.0) as store:
        assert store.execute([Put("cb:k", b"v"), Get("cb:k")]) == [None, b"v"]


def test_who_speaks_without_tls_to_it_is_told(behind: Behind) -> None:
    url = f"redis://127.0.0.1:{behind.port}"
    with store_at(url) as store, pytest.raises(KVSUnavailable):
        store.execute([Get("cb:k")])
    plain = f"rediss://127.0.0.1:{behind.server.port}?{behind.certificate.options}"
    with store_at(plain) as store, pytest.raises(KVSUnavailable, match="did not answer"):
        store.execute([Get("cb:k")])


def test_large_values_and_many_of_them(behind: Behind) -> None:
    writer = open_writer(behind.url())
    values = [bytes([number]) * 300_000 for number in range(30)]
    for number, value in enumerate(values):
        writer.submit([Put(f"cb:k{number}", value)], number)
    assert collect_all(writer) == [(number, [None]) for number in range(30)]
    writer.close()
    with store_at(behind.url(), 5.0) as store:
        assert store.execute([Get(f"cb:k{number}") for number in range(30)]) == values


def test_what_sentinels_name_is_reached_by_tls_too() -> None:
    with folder() as directory, watched(1) as servers:
        certificate = make_certificate(directory)
        (front,) = free_ports(1)
        with tls_proxies(certificate, [(front, servers.sentinels[0].port)]):
            url = f"rediss+sentinel://127.0.0.1:{front}/{SERVICE}?{certificate.options}"
            # The sentinel was found by TLS; what it names speaks none.
            named = f"rediss://127.0.0.1:{servers.primary.port}"
            with (
                store_at(url) as store,
                pytest.raises(KVSUnavailable, match=f"{named}.*which the sentinels name"),
            ):
                store.execute([Get("cb:k")])
