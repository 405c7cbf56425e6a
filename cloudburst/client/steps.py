"""Steps and DAGs as users write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from cloudburst.core.dag import Dag, FirstOf, make_edges, make_groups, make_steps, with_needs
from cloudburst.core.options import check_limit
from cloudburst.errors import UsageError
from cloudburst.serialization import join, pack

GPU = "gpu"
"""The resource that ``gpu_functions`` need."""

StepSaid: TypeAlias = str | tuple[str, str] | FirstOf
"""A function's name, a (step, function) pair, or `first_of` one of these."""


def first_of(step: str | tuple[str, str], invalid: Sequence[Any] = ()) -> FirstOf:
    """A step that is fired by the first of the results that lead to it, and gets only that.

    What the others have not finished when the run ends is interrupted. If one of them raises, its
    result does not count; if none counts, the run fails with `NoValidResult`.

    Args:
        step: a function's name, or a ``(step, function)`` pair, as in `register_dag`.
        invalid: results that do not count, compared with ``==``: ``[None]``, say.

    Raises:
        UsageError: ``invalid`` is no list.
        SerializationError: one of its items cannot be pickled.
    """
    # A set has another order in every process, and so would make another DAG of it.
    if not isinstance(invalid, list | tuple):
        raise UsageError(f"invalid is a list of results that do not count, not {invalid!r:.80}")
    packed = pack(list(invalid), f"the invalid results of step {step!r:.80}")
    return FirstOf(step, bytes(join(packed.frames)))


def make_dag(  # noqa: PLR0917  all that makes a DAG
    name: str,
    functions: Iterable[StepSaid],
    connections: Iterable[Sequence[str]],
    colocated: Iterable[str | Iterable[str]] = (),
    gpu_functions: Iterable[str] = (),
    replicas: int = 1,
) -> Dag:
    """A DAG of what `register_dag` was given.

    Raises:
        DagError: these are not steps and connections, or name steps that there are not.
        UsageError: ``replicas`` is no number.
    """
    steps = make_steps(functions)
    groups = make_groups(colocated, steps)
    steps = with_needs(steps, GPU, gpu_functions, "gpu_functions")
    most = check_limit("replicas", replicas, "instances") or 1
    return Dag(name, steps, make_edges(connections), groups, most)
