"""What clients call, drawn from a seed, and what it should come to by plain evaluation.

A value that travels is a pair: a mark, which tells every value from all others, and a blob, which
gives it its size. Each function folds what it is given into a new pair. The functions of the
cluster take their time, the plain ones of `evaluate` do not; otherwise they are the same.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cloudburst import batch, first_of

Parcel: TypeAlias = tuple[str, bytes]
Payload: TypeAlias = tuple[str, bytes, float, int]
"""Mark and blob, seconds that the function takes, and how often it raises before it succeeds."""

OBJECTS = 8
OBJECT_PREFIX = "chaos-object-"
TRIES_PREFIX = "chaos-tries-"


def fold(name: str, *values: Any) -> Parcel:
    """A value that depends on all those given, in their order."""
    state = hashlib.sha256(name.encode())
    blob = b""
    for mark, data, *_ in values:
        state.update(mark.encode())
        state.update(data)
        blob = max(blob, data, key=len)
    return state.hexdigest()[:32], blob[1:] + blob[:1]


def head(_library: Any, payload: Payload, *others: Parcel) -> Parcel:
    time.sleep(payload[2])
    return fold("head", payload, *others)


def link(_library: Any, *values: Parcel) -> Parcel:
    if values[0][0] < "4":  # a quarter of them
        time.sleep(0.002)
    return fold("link", *values)


def toss(_library: Any, payload: Payload) -> tuple[str, bytes, int]:
    """Something else in each attempt; what it comes to in the end shows it."""
    return *fold("toss", payload), random.getrandbits(60)


def carry(_library: Any, tossed: tuple[str, bytes, int]) -> tuple[str, bytes, int]:
    time.sleep(0.002)
    return *fold("carry", tossed), tossed[2]


def agree(_library: Any, *tossed: tuple[str, bytes, int]) -> Parcel:
    """What was tossed, if all that it gets comes of one attempt."""
    chances = {chance for _, _, chance in tossed}
    if len(chances) != 1:
        return "values of two attempts met", b""
    return fold("agree", *tossed)[0], chances.pop().to_bytes(8)


def draw(_library: Any, payload: Payload) -> Parcel:
    """Something else in each attempt, and it takes its time."""
    time.sleep(payload[2])
    return fold("draw", payload)[0], random.randbytes(8)


def broken(_library: Any, value: Parcel) -> Parcel:
    raise ValueError(f"broken {value[0]}")


def flaky(library: Any, payload: Payload) -> Parcel:
    tries = library.get(TRIES_PREFIX + payload[0], 0)
    if tries < payload[3]:
        library.put(TRIES_PREFIX + payload[0], tries + 1)
        raise ValueError(f"flaky {payload[0]}")
    return fold("flaky", payload)


def sleeper(_library: Any, payload: Payload) -> Parcel:
    end = time.monotonic() + payload[2]
    while time.monotonic() < end:
        time.sleep(0.02)
    return fold("sleeper", payload)


def asker(library: Any, payload: Payload) -> Parcel:
    """Has others do the work, one after another, and waits for them."""
    first = library.call("head", payload)
    second = library.call_dag("chain", {"a": payload})
    return fold("asker", first.get(), library.call("link", second).get())


def steps_of(dag: str) -> list[Any]:
    """The steps of a DAG as they are registered."""
    first = FIRST_OF.get(dag)
    return [first_of(step) if step[0] == first else step for step in DAGS[dag][0]]


def _plain_asker(payload: Payload) -> Parcel:
    chain = fold("link", fold("link", fold("head", payload)))
    return fold("asker", fold("head", payload), fold("link", chain))


class Keeper:
    """An instance that lives on, and gives everybody what is theirs."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, _library: Any, *values: Parcel) -> Parcel:
        self.calls = [*self.calls[-9:], values[0][0]]
        return fold("keeper", (self.calls[-1], values[0][1]), *values[1:])


def press(_library: Any, values: list[Parcel]) -> list[Parcel]:
    """Takes several calls at once."""
    time.sleep(0.002)
    return [fold("press", value) for value in values]


class Stamper:
    """Takes several calls at once, too, in a few instances."""

    def run(self, _library: Any, *columns: list[Parcel]) -> list[Parcel]:
        time.sleep(0.001)
        return [fold("stamper", *values) for values in zip(*columns, strict=True)]


def tarry(_library: Any, value: Parcel) -> Parcel:
    """The same as a link, but later; now and then it does not come to it."""
    time.sleep(0.03)
    if value[0][1] < "4":
        raise ValueError("nobody waits for this")
    return fold("link", value)


def _plain_broken(value: Parcel) -> Parcel:
    return broken(None, value)


FUNCTIONS: dict[str, Any] = {
    "head": head,
    "link": link,
    "toss": toss,
    "carry": carry,
    "agree": agree,
    "draw": draw,
    "broken": broken,
    "flaky": flaky,
    "sleeper": sleeper,
    "keeper": Keeper,
    "asker": asker,
    "press": press,
    "stamper": Stamper,
    "tarry": tarry,
}
HOW: dict[str, dict[str, Any]] = {
    "press": {"batching": batch(16, 1.0)},
    "stamper": {"batching": True},
}
"""What is said of functions when they are registered."""

PLAIN: dict[str, Callable[..., Parcel]] = {
    "head": lambda *values: fold("head", *values),
    "link": lambda *values: fold("link", *values),
    "toss": lambda *values: fold("toss", *values),
    "carry": lambda *values: fold("carry", *values),
    "agree": lambda *values: (fold("agree", *values)[0], bytes(8)),
    "draw": lambda payload: (fold("draw", payload)[0], bytes(8)),
    "broken": _plain_broken,
    "flaky": lambda payload: fold("flaky", payload),
    "sleeper": lambda payload: fold("sleeper", payload),
    "keeper": lambda *values: fold("keeper", *values),
    "asker": _plain_asker,
    "press": lambda *values: fold("press", *values),
    "stamper": lambda *values: fold("stamper", *values),
    "tarry": lambda *values: fold("link", *values),
}

Steps: TypeAlias = tuple[tuple[str, str], ...]
Edges: TypeAlias = tuple[tuple[str, str], ...]
_DIAMOND = (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))
DAGS: dict[str, tuple[Steps, Edges]] = {
    "one": ((("a", "head"),), ()),
    "chain": ((("a", "head"), ("b", "link"), ("c", "link")), (("a", "b"), ("b", "c"))),
    "diamond": ((("a", "head"), ("b", "link"), ("c", "link"), ("d", "link")), _DIAMOND),
    "join": (
        (("a", "head"), ("b", "head"), ("c", "head"), ("d", "link")),
        (("c", "d"), ("a", "d"), ("b", "d")),
    ),
    "five": (
        (("a", "head"), ("b", "link"), ("c", "link"), ("d", "link"), ("e", "link")),
        (*_DIAMOND, ("d", "e")),
    ),
    "kept": ((("a", "head"), ("b", "keeper"), ("c", "link")), (("a", "b"), ("b", "c"))),
    "pressed": ((("a", "head"), ("b", "press"), ("c", "link")), (("a", "b"), ("b", "c"))),
    "stamped": ((("a", "stamper"),), ()),
    "raced": ((("a", "head"), ("b", "link"), ("c", "tarry"), ("d", "link")), _DIAMOND),
    "tossed": ((("a", "toss"), ("b", "carry"), ("c", "carry"), ("d", "agree")), _DIAMOND),
    "drawn": ((("a", "draw"),), ()),
    "asked": ((("a", "asker"), ("b", "link")), (("a", "b"),)),
    "broken": ((("a", "head"), ("b", "broken"), ("c", "link")), (("a", "b"), ("b", "c"))),
    "flaky": ((("a", "flaky"), ("b", "link")), (("a", "b"),)),
    "sleeper": ((("a", "sleeper"), ("b", "link")), (("a", "b"),)),
}

FIRST_OF = {"raced": "d"}
"""The steps that take the first of several results, which are equal, by DAG."""

REPLICAS = {"stamped": 2}

_PLAIN_DAGS = ("one", "chain", "diamond", "join", "five", "kept", "pressed", "stamped", "raced")
KINDS = {
    "plain": 125,
    "tossed": 20,
    "asked": 6,
    "drawn": 5,
    "function": 12,
    "referring": 20,
    "broken": 6,
    "flaky": 8,
    "hasty": 6,
    "limited": 1,
    "cancelled": 3,
}
DIRECT_KINDS = {"plain": 9, "function": 2, "broken": 1}
_SIZES = {30: 840, 5_000: 148, 100_000: 11, 1_200_000: 1}
SLOW = {"drawn", "sleeper"}
"""DAGs that take more than some milliseconds by themselves."""

LIMIT = 0.3
HASTE = 1.0
ENDURED = 5.0
"""Seconds that a function would take which is ended by its limit, and must be."""


@dataclass(slots=True)
class Spec:
    """One call.

    Attributes:
        number: its place among the calls of its client, from 0.
        kind: see `KINDS`; what may become of it depends on that.
        target: a DAG, or for the kind "function" a function.
        payloads: arguments, by step.
        back: the calls, by number, whose results step "a" refers to.
        objects: the stored objects, by number, that it refers to.
        options: of the run.
        cancel_after: seconds until it is cancelled; None if it is not.
        callback: whether its end is told by a callback, rather than waited for.
        expected: what plain evaluation says.
        may_also: names of errors with which it may end as well.
    """

    number: int
    kind: str
    target: str
    payloads: dict[str, Payload]
    back: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    cancel_after: float | None = None
    callback: bool = False
    expected: str = ""
    may_also: tuple[str, ...] = ()

    def allows(self, outcome: str) -> bool:
        """Whether it may end like this."""
        name = outcome.partition(":")[0]
        if self.kind in {"drawn", "tossed"}:  # the last word tells what it was
            return outcome.rpartition(" ")[0] == self.expected.rpartition(" ")[0]
        return outcome == self.expected or name == self.expected or name in self.may_also


def generate(seed: str, kinds: Mapping[str, int] = KINDS) -> Iterator[Spec]:
    """The calls of one client, without end."""
    rng = random.Random(seed)
    results: dict[int, Parcel] = {}
    number = 0
    while True:
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        spec = _draw(rng, kind, f"{seed}/{number}", number)
        _specialise(spec, rng, list(results))
        values: list[Parcel] = [results[back] for back in spec.back]
        values += [stored_object(index) for index in spec.objects]
        try:
            result = evaluate(spec.target, spec.payloads, values)
        except ValueError as error:
            spec.expected = describe_error(error)
        else:
            spec.expected = describe_value(result)
            if spec.kind in {"plain", "referring", "function"}:
                results[number] = result
                if len(results) > 40:
                    del results[next(iter(results))]
        if spec.kind == "limited":
            spec.expected = "InvocationTimedOutError"
        yield spec
        number += 1


def _draw(rng: random.Random, kind: str, mark: str, number: int) -> Spec:
    target = rng.choice(_PLAIN_DAGS)
    if kind == "function":
        target = "head"
    elif kind in {"asked", "broken", "drawn", "flaky", "tossed"}:
        target = kind
    elif kind in {"limited", "cancelled"}:
        target = "sleeper"
    sources = ["a"] if kind == "function" else _sources(target)
    spec = Spec(number, kind, target, {})
    for step in sources:
        size = rng.choices(list(_SIZES), list(_SIZES.values()))[0]
        spec.payloads[step] = (f"{mark}/{step}", rng.randbytes(size), rng.uniform(0.0, 0.01), 0)
    spec.callback = rng.random() < 0.1
    return spec


def _specialise(spec: Spec, rng: random.Random, known: list[int]) -> None:
    match spec.kind:
        case "referring":
            spec.back = sorted(rng.sample(known, min(len(known), rng.randint(1, 2))))
            spec.objects = [rng.randrange(OBJECTS)] * rng.randint(0, 1)
        case "flaky":
            mark, blob, pause, _ = spec.payloads["a"]
            spec.payloads["a"] = (mark, blob, pause, rng.randint(0, 2))
            spec.options = {"max_retries": 4}
        case "drawn":
            _take_time(spec, rng.uniform(0.0, 0.4))
        case "hasty":
            spec.options = {"timeout": HASTE}
            spec.may_also = ("InvocationTimedOutError",)
        case "limited":
            _take_time(spec, ENDURED)
            spec.options = {"timeout": LIMIT}
        case "cancelled":
            _take_time(spec, rng.uniform(0.0, 1.5))
            spec.cancel_after = rng.uniform(0.0, 0.4)
            spec.may_also = ("InvocationCancelledError",)


def _take_time(spec: Spec, seconds: float) -> None:
    mark, blob, _, fails = spec.payloads["a"]
    spec.payloads["a"] = (mark, blob, seconds, fails)


def _sources(target: str) -> list[str]:
    steps, edges = DAGS[target]
    readers = {reader for _, reader in edges}
    return [step for step, _ in steps if step not in readers]


def stored_object(index: int) -> Parcel:
    """One of the objects that are stored before the first call."""
    return f"object {index}", bytes([index]) * (1 + 1_000 * index)


def evaluate(target: str, payloads: dict[str, Payload], references: list[Parcel]) -> Parcel:
    """What a DAG or function gives, by calling one plain function after the other."""
    if target not in DAGS:
        return PLAIN[target](*payloads.values(), *references)
    steps, edges = DAGS[target]
    results: dict[str, Parcel] = {}
    for step, function in steps:  # which are listed in an order that serves
        own = [payloads[step]] if step in payloads else []
        referred = references if step == "a" else []
        upstream = [results[source] for source, reader in edges if reader == step]
        if FIRST_OF.get(target) == step:
            upstream = upstream[:1]
        results[step] = PLAIN[function](*own, *referred, *upstream)
    return results[steps[-1][0]]


def describe_value(value: Any) -> str:
    """A result in a line: equal lines, equal results."""
    match value:
        case (str(mark), bytes(blob)):
            return f"{mark} {len(blob)} {hashlib.sha256(blob).hexdigest()[:16]}"
        case _:
            return f"a strange value {value!r:.200}"


def describe_error(error: BaseException) -> str:
    """What a run ended with, in a line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
