"""A DAG compiled for execution.

A plan is immutable and named by the hash of all it contains, code versions included, so that
executors may keep plans for ever and a re-registered function simply makes another plan.

The unit of execution is the *segment*: a maximal linear stretch of steps. A segment runs on one
executor from head to tail and hands values on in memory; only its head may have several inputs
and only its tail several outputs. (Function fusion of linear stretches: Sreekanti et al.,
"Optimizing Prediction Serving on Low-Latency Serverless Dataflow", 2020, section 4.)
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgpack

from cloudburst.core.dag import Dag, Step
from cloudburst.errors import ProtocolError


class FunctionInfo(NamedTuple):
    """What the cluster knows of a registered function, besides its code.

    Attributes:
        max_concurrency: how many of its runs may go on at a time; 0 for any number.
        max_per_host: how many of them on one host.
        batch_size: how many calls one invocation of its code takes at most; 0 if its code does
            not take lists.
        batch_wait: seconds that an invocation waits for more calls.
        needs: the resource that its executor must have, or "".
    """

    name: str
    version: str
    is_class: bool
    max_concurrency: int = 0
    max_per_host: int = 0
    batch_size: int = 0
    batch_wait: float = 0.0
    needs: str = ""

    @property
    def together(self) -> int:
        """How many calls one invocation takes: no more than may go on at a time, if any."""
        limits = [limit for limit in (self.max_concurrency, self.max_per_host) if limit]
        return min([self.batch_size, *limits])

    @property
    def is_limited(self) -> bool:
        """Whether not any number of its runs may go on at a time."""
        return bool(self.max_concurrency or self.max_per_host)


class PlanStep(NamedTuple):
    """One step: its name, the function and code version it runs, and how it runs.

    The rest is as in `FunctionInfo` and `cloudburst.core.dag.Step`.
    """

    name: str
    function: str
    version: str
    is_class: bool
    batch_size: int = 0
    batch_wait: float = 0.0
    needs: str = ""
    invalid: bytes = b""


class Edge(NamedTuple):
    """Where a segment's value goes: which segment, and which of its head's inputs."""

    segment: int
    position: int


class Segment(NamedTuple):
    """A linear stretch of steps (indices into ``Plan.steps``).

    Segments with the same ``group`` should run on the same executor; 0 is none.
    """

    steps: tuple[int, ...]
    inputs: int
    parents: tuple[int, ...]
    outputs: tuple[Edge, ...]
    group: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled DAG.

    Attributes:
        dag: the DAG's name; empty for a lone function.
        segments: in topological order, the sink last.
        segment_of: of each step, the segment it belongs to.
        depths: of each segment, the number of segments on the longest way to it.
        has_classes: whether instances of classes outlive a run of it.
        has_first_of: whether it may end although some of its steps have not.
        needs: the resources that its executors must have.
        batch_size: the largest of its steps' batches; 0 if none is run in batches.
    """

    id: str
    dag: str
    steps: tuple[PlanStep, ...]
    segments: tuple[Segment, ...]
    step_index: dict[str, int]
    segment_of: tuple[int, ...]
    depths: tuple[int, ...]
    has_classes: bool
    has_first_of: bool
    needs: frozenset[str]
    batch_size: int

    def head(self, segment: int) -> PlanStep:
        """The first step of a segment; what a batch is made of, what fires it and what it needs
        are matters of this step."""
        return self.steps[self.segments[segment].steps[0]]

    @property
    def target(self) -> str:
        """What is called: the DAG, or the lone function."""
        return self.dag or self.steps[0].function

    @property
    def sink(self) -> int:
        """The last segment in topological order, which is the one whose value is the result."""
        return len(self.segments) - 1


def compile_dag(dag: Dag, functions: Mapping[str, FunctionInfo]) -> Plan:
    """Compile a validated DAG against the functions as they are registered now."""
    steps = tuple(_plan_step(step, functions[step.function]) for step in dag.steps)
    index = {step.name: number for number, step in enumerate(steps)}
    edges = [(index[source], index[target]) for source, target in dag.edges]
    segments = _segments(steps, edges)
    together = {index[s]: number for number, group in enumerate(dag.colocated, 1) for s in group}
    grouped = tuple(
        segment._replace(group=max(together.get(step, 0) for step in segment.steps))
        for segment in segments
    )
    return _build(dag.name, steps, grouped)


def compile_function(function: FunctionInfo) -> Plan:
    """The plan of a lone function: one step that bears the function's name."""
    step = _plan_step(Step(function.name, function.name), function)
    return _build("", (step,), (Segment((0,), 0, (), ()),))


def pack_plan(plan: Plan) -> bytes:
    """The plan as stored in the KVS."""
    packed: bytes = msgpack.packb((plan.dag, plan.steps, plan.segments))
    return packed


def unpack_plan(blob: bytes | memoryview) -> Plan:
    """The inverse of `pack_plan`.

    Raises:
        ProtocolError: the bytes are not a plan.
    """
    try:
        dag, steps, segments = msgpack.unpackb(blob, use_list=False)
        return _build(
            dag,
            tuple(PlanStep(*step) for step in steps),
            tuple(
                Segment(members, inputs, parents, tuple(Edge(*edge) for edge in outputs), group)
                for members, inputs, parents, outputs, group in segments
            ),
        )
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise ProtocolError(f"this is not a plan: {error!r}") from error


def _plan_step(step: Step, function: FunctionInfo) -> PlanStep:
    return PlanStep(
        step.name,
        function.name,
        function.version,
        function.is_class,
        function.together,
        function.batch_wait,
        step.needs or function.needs,
        step.invalid,
    )


def _build(dag: str, steps: tuple[PlanStep, ...], segments: tuple[Segment, ...]) -> Plan:
    digest = hashlib.blake2b(msgpack.packb((dag, steps, segments)), digest_size=12)
    owner = {step: number for number, segment in enumerate(segments) for step in segment.steps}
    return Plan(
        id=digest.hexdigest(),
        dag=dag,
        steps=steps,
        segments=segments,
        step_index={step.name: number for number, step in enumerate(steps)},
        segment_of=tuple(owner[number] for number in range(len(steps))),
        depths=_depths(segments),
        has_classes=bool(dag) and any(step.is_class for step in steps),
        has_first_of=any(step.invalid for step in steps),
        needs=frozenset(step.needs for step in steps if step.needs),
        batch_size=max((step.batch_size for step in steps), default=0),
    )


def _depths(segments: Sequence[Segment]) -> tuple[int, ...]:
    depths: list[int] = []
    for segment in segments:
        depths.append(1 + max((depths[parent] for parent in segment.parents), default=-1))
    return tuple(depths)


def _segments(steps: Sequence[PlanStep], edges: list[tuple[int, int]]) -> tuple[Segment, ...]:
    count = len(steps)
    parents: dict[int, list[int]] = defaultdict(list)
    children: dict[int, list[int]] = defaultdict(list)
    position = {}
    for source, target in edges:
        position[source, target] = len(parents[target])
        parents[target].append(source)
        children[source].append(target)

    def continues(step: int) -> bool:
        if len(parents[step]) != 1 or len(children[parents[step][0]]) != 1:
            return False
        return _runs_on(steps[parents[step][0]], steps[step])

    chains = []
    for head in _topological(count, parents, children):
        if continues(head):
            continue
        chain = [head]
        while len(children[chain[-1]]) == 1 and continues(children[chain[-1]][0]):
            chain.append(children[chain[-1]][0])
        chains.append(tuple(chain))

    number_of_head = {chain[0]: number for number, chain in enumerate(chains)}
    number_of_tail = {chain[-1]: number for number, chain in enumerate(chains)}
    return tuple(
        Segment(
            steps=chain,
            inputs=len(parents[chain[0]]),
            parents=tuple(number_of_tail[parent] for parent in parents[chain[0]]),
            outputs=tuple(
                Edge(number_of_head[child], position[chain[-1], child])
                for child in children[chain[-1]]
            ),
        )
        for chain in chains
    )


def _runs_on(before: PlanStep, after: PlanStep) -> bool:
    """Whether one call of the code of two steps may follow the other on the same executor.

    Batches are made of several runs, so their steps begin and end by themselves.
    """
    return not (
        before.batch_size or after.batch_size or after.invalid or before.needs != after.needs
    )


def _topological(
    count: int, parents: dict[int, list[int]], children: dict[int, list[int]]
) -> list[int]:
    """Kahn's algorithm; the single sink comes last because everything leads to it."""
    missing = [len(parents[step]) for step in range(count)]
    order = [step for step in range(count) if missing[step] == 0]
    for step in order:
        for child in children[step]:
            missing[child] -= 1
            if missing[child] == 0:
                order.append(child)
    return order
