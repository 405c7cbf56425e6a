"""Stores and writers by URL, of the kind that it names."""

from __future__ import annotations

from typing import Protocol

from cloudburst.kvs.base import LoadingStore
from cloudburst.kvs.cluster import ClusterStore
from cloudburst.kvs.cluster_writer import ClusterWriter
from cloudburst.kvs.redis import RedisStore
from cloudburst.kvs.redis_writer import RedisWriter
from cloudburst.kvs.urls import Kind, read_url
from cloudburst.kvs.writer import Writer


class ServedStore(LoadingStore, Protocol):
    """A store in servers, which have settings."""

    def eviction_policy(self) -> str:
        """What they delete when memory is short: ``"noeviction"`` means nothing.

        Raises:
            KVSUnavailable: they did not answer, or refused.
        """


def open_store(url: str, *, timeout: float = 10.0) -> ServedStore:
    """A store; nothing is connected yet.

    Args:
        url: see `cloudburst.kvs.urls`.
        timeout: seconds after which a call is given up that gets no further.

    Raises:
        UsageError: the URL cannot be read.
    """
    kind = ClusterStore if read_url(url).kind is Kind.CLUSTER else RedisStore
    return kind(url, timeout=timeout)


def open_writer(url: str, *, timeout: float = 10.0) -> Writer:
    """A writer; nothing is connected yet.

    Args:
        url: see `cloudburst.kvs.urls`.
        timeout: seconds after which a submission is given up that is not answered.

    Raises:
        UsageError: the URL cannot be read.
    """
    kind = ClusterWriter if read_url(url).kind is Kind.CLUSTER else RedisWriter
    return kind(url, timeout=timeout)
