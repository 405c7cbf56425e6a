"""What the caches of hosts hold, as far as hosts have said. No I/O, no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from cloudburst.core.hosts import CacheChanges

MOST = 10_000
"""Objects of one host that are remembered."""


@dataclass(slots=True)
class _Cache:
    number: int = 0
    sizes: dict[str, int] = field(default_factory=dict)


class Holdings:
    """Which host has which objects in its cache, and how large they are there."""

    def __init__(self) -> None:
        self._caches: dict[str, _Cache] = {}
        self._holders: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._holders)

    def hear(self, host: str, changes: CacheChanges) -> bool:
        """A host says what has changed in its cache.

        Returns:
            Whether that adds up: if earlier changes were missed, the host is to say all anew.
        """
        cache = self._caches.get(host)
        number = cache.number if cache is not None else 0
        if changes.number <= number:  # no news, or old ones
            return True
        follows = changes.number == number + 1 and bool(changes.added or changes.dropped)
        if changes.whole or not follows:
            self.forget(host)
        if not (changes.whole or follows):
            return False
        cache = self._caches.setdefault(host, _Cache())
        cache.number = changes.number
        for key in changes.dropped:
            self._drop(host, cache, key)
        for key, size in changes.added:
            if key in cache.sizes or len(cache.sizes) < MOST:
                cache.sizes[key] = size
                self._holders.setdefault(key, {})[host] = size
        return True

    def forget(self, host: str) -> None:
        """A host is lost, or what is known of its cache may be wrong."""
        cache = self._caches.pop(host, None)
        if cache is not None:
            for key in list(cache.sizes):
                self._drop(host, cache, key)

    def keep(self, hosts: Collection[str]) -> None:
        """Forget all but these hosts."""
        for host in self._caches.keys() - hosts:
            self.forget(host)

    @property
    def hosts(self) -> Collection[str]:
        """The hosts of whose caches something was said."""
        return self._caches.keys()

    def of(self, host: str) -> Mapping[str, int]:
        """The objects of a host, with their bytes."""
        cache = self._caches.get(host)
        return {} if cache is None else cache.sizes

    def has(self, host: str, key: str) -> bool:
        """Whether a host has an object."""
        return host in self._holders.get(key, ())

    def bytes_at(self, keys: Iterable[str]) -> dict[str, int]:
        """How many bytes of these objects each host has that has any."""
        found = defaultdict[str, int](int)
        for key in dict.fromkeys(keys):
            for host, size in self._holders.get(key, {}).items():
                found[host] += size
        return found

    def bytes_of(self, keys: Iterable[str]) -> int:
        """The bytes of those of these objects that any host has."""
        found = (self._holders.get(key) for key in dict.fromkeys(keys))
        return sum(max(sizes.values()) for sizes in found if sizes)

    def _drop(self, host: str, cache: _Cache, key: str) -> None:
        if cache.sizes.pop(key, None) is None:
            return
        holders = self._holders[key]
        del holders[host]
        if not holders:
            del self._holders[key]

    def validate(self, hosts: Collection[str]) -> None:
        """Check that both sides tell the same, of hosts that are there."""
        assert self._caches.keys() <= set(hosts)
        for host, cache in self._caches.items():
            assert len(cache.sizes) <= MOST
            for key, size in cache.sizes.items():
                assert self._holders[key][host] == size
        held = sum(len(cache.sizes) for cache in self._caches.values())
        assert held == sum(map(len, self._holders.values()))
        assert all(self._holders.values())
