"""What `functools` wraps around functions, where it travels by value: made again on arrival.

Pickle would send a cached function by its name, even one of a script, and the lock of a cached
property not at all. What they have cached stays behind.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from cloudburst.serialization.own_modules import own_modules

CachedFunction: type = type(functools.lru_cache(lambda: None))


def reduce_cached_function(wrapper: Any) -> Any:
    """What `pickle` is to write of a function with ``functools.cache`` or ``lru_cache``."""
    if wrapper.__module__ not in own_modules() | {"__main__"} and _is_found(wrapper):
        return wrapper.__qualname__
    parameters = wrapper.cache_parameters()
    return _cached_function, (wrapper.__wrapped__, parameters["maxsize"], parameters["typed"])


def reduce_cached_property(cached: functools.cached_property[Any]) -> Any:
    """What `pickle` is to write of a ``functools.cached_property``."""
    return _cached_property, (cached.func, cached.attrname)


def _is_found(wrapper: Any) -> bool:
    found: Any = sys.modules.get(wrapper.__module__)
    for name in wrapper.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is wrapper


def _cached_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _cached_property(
    function: Callable[[Any], Any], name: str | None
) -> functools.cached_property[Any]:
    cached = functools.cached_property(function)
    cached.attrname = name
    return cached
