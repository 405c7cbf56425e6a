"""Work on arrays that are in the store: reading them, predicting with them, passing them on."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

from benchmarks.counters import Roles, this_process
from benchmarks.measure import Clocked, Contender
from benchmarks.tasks import (
    added_up,
    arrays,
    consume,
    image,
    infer,
    postprocess,
    preprocess,
    produce,
    weights,
)
from benchmarks.work import Arrays
from cloudburst import CloudburstConnection, CloudburstReference

HOT_IN = "cloudburst hot, in the function"
HOT = "cloudburst hot, the call"
COLD = "cloudburst cold, in the function"
PLAIN = "NumPy in this process"
STRAIGHT = "redis-py GET + unpickle"
WEIGHTS = "weights"


def reads(library: Any, names: list[str]) -> tuple[float, float]:
    """In a function: the sum of these arrays, and the seconds that reading and adding took."""
    began = time.perf_counter()
    found = library.get(names)
    result = added_up(found[name] for name in names)
    return result, time.perf_counter() - began


def array_contenders(
    cloud: CloudburstConnection, raw: Any, work: Arrays, roles: Callable[[], Roles]
) -> list[Contender]:
    """The sum of ten arrays: hot, cold, straight from the store, and without any of that.

    Args:
        cloud: where the function is.
        raw: the same store, with redis-py.
        work: how many bytes.
        roles: the processes behind `cloud`.
    """
    here = arrays(work.size)
    hot, cold, plain = (
        [f"{work.size}/{which}{number}" for number in range(len(here))] for which in ("h", "c", "p")
    )
    result = added_up(here)
    call = cloud.register(reads, "reads").options(direct_response=True)
    cloud.mput(dict(zip(hot, here, strict=True)))
    for name, array in zip(plain, here, strict=True):
        raw.set(name, pickle.dumps(array, 5))

    def write(_: int) -> None:
        cloud.mput(dict(zip(cold, here, strict=True)))

    def straight(_: int) -> float:
        return added_up(pickle.loads(raw.get(name)) for name in plain)

    def contender(name: str, what: Callable[[int], object]) -> Contender:
        return Contender(name, what, lambda _: result, roles)

    return [
        contender(HOT_IN, lambda _: Clocked(*call(hot))),
        contender(HOT, lambda _: call(hot)[0]),
        contender(PLAIN, lambda _: added_up(here))._replace(roles=this_process),
        contender(STRAIGHT, straight),
        contender(COLD, lambda _: Clocked(*call(cold)))._replace(prepare=write),
    ]


def prediction_contenders(
    cloud: CloudburstConnection, roles: Callable[[], Roles]
) -> list[Contender]:
    """Three steps; the second is given the weights by reference."""
    model = weights()
    cloud.put_object(WEIGHTS, model)
    steps = ["preprocess", "infer", "postprocess"]
    cloud.register(lambda _, pixels: preprocess(pixels), steps[0])
    cloud.register(lambda _, reference, inputs: infer(inputs, reference), steps[1])
    cloud.register(lambda _, scores: postprocess(scores), steps[2])
    cloud.register_dag("prediction", steps, [(steps[0], steps[1]), (steps[1], steps[2])])

    def call(number: int) -> object:
        given = {"preprocess": image(number), "infer": CloudburstReference(WEIGHTS)}
        return cloud.call_dag("prediction", given, direct_response=True)

    def expected(number: int) -> int:
        return postprocess(infer(preprocess(image(number)), model))

    return [Contender("cloudburst, direct", call, expected, roles)]


def edge_contender(
    cloud: CloudburstConnection, size: int, needs: tuple[str, str], roles: Callable[[], Roles]
) -> Contender:
    """From a step on one host to a step on another.

    Args:
        cloud: a cluster of two hosts.
        size: bytes.
        needs: a resource that only the first host has, and one that only the second has.
        roles: the processes of the cluster.
    """
    name = f"edge-{size}"
    cloud.register(lambda _, number: produce(number, size), f"produce-{size}", needs=needs[0])
    cloud.register(lambda _, produced: consume(produced), "consume", needs=needs[1])
    cloud.register_dag(
        name,
        [("produce", f"produce-{size}"), ("consume", "consume")],
        [("produce", "consume")],
    )

    def call(number: int) -> Clocked:
        return Clocked(*cloud.call_dag(name, {"produce": number}, direct_response=True))

    return Contender("cloudburst, 2 executors", call, float, roles)
