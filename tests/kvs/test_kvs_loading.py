"""Large values are read to where the caller wants them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from proxy import proxy_to
from stores import kill

from cloudburst.cache.folder import CacheFolder, OwnFolder
from cloudburst.cache.loading import Loader
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Get, Put
from cloudburst.kvs.commands import LARGE
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.redis import RedisStore


class Places:
    """Gives memory, and remembers it."""

    def __init__(self, *, none: bool = False) -> None:
        self.given: list[memoryview] = []
        self.asked: list[int] = []
        self._none = none

    def __call__(self, size: int) -> memoryview | None:
        self.asked.append(size)
        if self._none:
            return None
        self.given.append(memoryview(bytearray(size)))
        return self.given[-1]


SIZES = [0, 1, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE - 3, 1_000_003]


@pytest.mark.parametrize("none", [False, True])
def test_large_values_come_in_the_memory_given_and_small_ones_do_not(
    store: RedisStore, *, none: bool
) -> None:
    values = {f"k{size}": bytes([size % 251]) * size for size in SIZES}
    store.execute([Put(key, value) for key, value in values.items()])
    places = Places(none=none)

    found = store.load([Get(key) for key in ["missing", *values]], places)

    assert found == [None, *values.values()]
    assert places.asked == [size for size in SIZES if size >= LARGE]
    assert [id(blob) for blob in found[-4:]] == [id(memory) for memory in places.given] or none
    assert store.execute([Get("k1")]) == [b"\x01"]


@pytest.mark.parametrize("size", range(LARGE - 20, LARGE + 20))
def test_the_end_of_a_value_is_found_wherever_it_is(store: RedisStore, size: int) -> None:
    value = bytes(range(256)) * (size // 256 + 1)
    store.execute([Put("k", value[:size])])
    assert store.load([Get("k"), Get("missing"), Get("k")], Places()) == [
        value[:size],
        None,
        value[:size],
    ]


def test_memory_that_was_given_for_one_read_is_not_used_for_the_next(store: RedisStore) -> None:
    store.execute([Put("k", b"a" * LARGE)])
    places = Places()
    (first,) = store.load([Get("k")], places)
    store.execute([Put("k", b"b" * LARGE)])
    (second,) = store.execute([Get("k")])

    assert (first, second) == (b"a" * LARGE, b"b" * LARGE)
    assert len(places.given) == 1


@pytest.fixture
def folder(tmp_path: Path) -> OwnFolder:
    return OwnFolder("h", tmp_path)


def files_in(folder: OwnFolder) -> list[str]:
    return [path.name for path in folder.new.iterdir()]


def test_a_reply_that_is_lost_is_read_again_and_leaves_no_files(
    private_server: EmbeddedServer, store: RedisStore, short_dir: Path, folder: OwnFolder
) -> None:
    values = [bytes([65 + n]) * 300_000 for n in range(3)]
    store.execute([Put(object_key(f"k{n}"), value) for n, value in enumerate(values)])
    with proxy_to(private_server, short_dir) as proxy:
        slow = RedisStore(proxy.url)
        loader = Loader(slow, CacheFolder(folder.path), "e", nullcontext)
        slow.execute([Get("nothing")])
        for lost in range(4):
            proxy.lose_replies = lost
            found = loader.load(["k0", "missing", "k1", "k2"])
            assert [found[f"k{n}"] for n in range(3)] == values
            assert found["missing"] is None
            assert files_in(folder) == []  # nobody takes offers here
        loader.close()
        slow.close()
    folder.remove()


def test_a_server_that_dies_meanwhile_leaves_no_files(
    private_server: EmbeddedServer, store: RedisStore, folder: OwnFolder
) -> None:
    store.execute([Put(object_key("k"), b"v" * 300_000)])
    impatient = RedisStore(private_server.url, timeout=0.2)
    loader = Loader(impatient, CacheFolder(folder.path), "e", nullcontext)
    loader.load(["k"])
    kill(private_server)

    with pytest.raises(KVSUnavailable):
        loader.load(["k"])

    assert files_in(folder) == []
    loader.close()
    impatient.close()
    folder.remove()
