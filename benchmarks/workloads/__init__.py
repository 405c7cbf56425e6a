"""What is measured: one module each, with a docstring that says against what, and a ``run``."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module

from benchmarks.bench import Bench


def names() -> list[str]:
    """All workloads, in the order of the report."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def described(name: str) -> str:
    """What a workload measures: the docstring of its module."""
    return inspect.cleandoc(import_module(f"{__name__}.{name}").__doc__ or "")


def load(name: str) -> Callable[[Bench], None]:
    """The workload of that name."""
    run: Callable[[Bench], None] = import_module(f"{__name__}.{name}").run
    return run


ORDER = (
    *("two_functions", "noop", "chain", "fan", "throughput"),
    *("locality", "edge", "messages", "prediction"),
    *("first_result", "rest", "elastic", "functions", "executors"),
    *("transport", "scheduler_state", "soak"),
)
"""Workloads that are not named here come last."""
