"""What URLs of stores say, and which say nothing."""

import pytest

from cloudburst.errors import UsageError
from cloudburst.kvs.cluster import ClusterStore
from cloudburst.kvs.cluster_writer import ClusterWriter
from cloudburst.kvs.connection import check_url
from cloudburst.kvs.opening import open_store, open_writer
from cloudburst.kvs.redis import RedisStore
from cloudburst.kvs.redis_writer import RedisWriter
from cloudburst.kvs.urls import Kind, Place, read_url, scrubbed


@pytest.mark.parametrize("url", ["redis://u:p@h:1/2?x=y", "unix:///s", "nonsense", ""])
def test_one_server_is_left_to_redis_py(url: str) -> None:
    assert read_url(url) == Place(Kind.SERVER, (url,))


def test_a_cluster() -> None:
    place = read_url("redis+cluster://u:p%40@one,10.0.0.2:7002,[::1]:7003?ssl_ca_certs=/a%20b")

    rest = "?ssl_ca_certs=%2Fa+b"
    assert place.kind is Kind.CLUSTER
    assert place.seeds == (
        f"redis://u:p%40@one:6379{rest}",
        f"redis://u:p%40@10.0.0.2:7002{rest}",
        f"redis://u:p%40@[::1]:7003{rest}",
    )
    assert place.server("::2", 7004) == f"redis://u:p%40@[::2]:7004{rest}"


@pytest.mark.parametrize("end", ["", "/", "/0", "?db=0", "/0?db=0"])
def test_a_cluster_has_one_database(end: str) -> None:
    assert read_url(f"rediss+cluster://h:1{end}").seeds == ("rediss://h:1",)


@pytest.mark.parametrize("end", ["/1", "?db=1", "/0?db=12"])
def test_another_one_is_refused(end: str) -> None:
    with pytest.raises(UsageError, match="cluster has one only"):
        open_store(f"redis+cluster://u:s3cret@h:1{end}")


def test_sentinels() -> None:
    place = read_url("rediss+sentinel://u:p@one,two:7002/main?db=3&ssl_ca_certs=ca")

    assert place.kind is Kind.SENTINELS
    assert place.seeds == (
        "rediss://one:26379?ssl_ca_certs=ca",
        "rediss://two:7002?ssl_ca_certs=ca",
    )
    assert place.service == "main"
    assert place.server("10.0.0.1", 6380) == "rediss://u:p@10.0.0.1:6380?db=3&ssl_ca_certs=ca"


def test_sentinels_have_a_password_of_their_own() -> None:
    url = "redis+sentinel://:p@one/main?sentinel_username=s&sentinel_password=a/b"

    place = read_url(url)
    assert place.seeds == ("redis://s:a%2Fb@one:26379",)
    assert place.server("h", 1) == "redis://:p@h:1"


@pytest.mark.parametrize("end", ["", "/", "/a/b", "?db=1"])
def test_sentinels_without_a_service(end: str) -> None:
    with pytest.raises(UsageError, match="which service"):
        open_store(f"redis+sentinel://h{end}")


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://a,,b",
        "redis+cluster://a:b",
        "redis+cluster://u:s3cret@a b",
        "redis+other://h",
        "unix+cluster:///s",
        "redis+sentinel:///main",
        "redis+cluster://h:123456",
    ],
)
def test_what_names_no_store_is_refused_at_once(url: str) -> None:
    for refuse in (open_store, open_writer):
        with pytest.raises(UsageError, match="does not name a store") as caught:
            refuse(url)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:s3cret@h?nonsense=1",
        "rediss://u:s3cret@h?ssl_cert_reqs=maybe",
        "redis+cluster://u:s3cret@h?nonsense=1",
        "redis+sentinel://u:s3cret@h/main?nonsense=1",
        "redis://h:s3cret@h?ssl_ca_certs=ca",
    ],
)
def test_an_option_that_there_is_not_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="has an option that cannot be used") as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)


def test_a_port_that_there_is_not() -> None:
    with pytest.raises(UsageError):
        check_url("redis+cluster://h:99999")


def test_a_url_says_which_store_to_open() -> None:
    for url in ("redis://h", "unix:///s", "rediss+sentinel://h/s"):
        assert isinstance(open_store(url), RedisStore)
        assert isinstance(open_writer(url), RedisWriter)
    assert isinstance(open_store("redis+cluster://h"), ClusterStore)
    assert isinstance(open_writer("rediss+cluster://h"), ClusterWriter)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+cluster://u:s3cret@a,b", "redis+cluster://u:***@a,b"),
        ("rediss+sentinel://:s@3cret@a/m", "rediss+sentinel://:***@a/m"),
        (
            "redis+sentinel://a/m?sentinel_password=x&db=1",
            "redis+sentinel://a/m?sentinel_password=***&db=1",
        ),
        ("redis://a?password=x", "redis://a?password=***"),
        ("rediss://a?db=1&ssl_password=x", "rediss://a?db=1&ssl_password=***"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert scrubbed(url) == shown
