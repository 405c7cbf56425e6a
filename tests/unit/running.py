"""A runner of functions with everything it needs but other processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from cloudburst.cache.reader import ObjectReader
from cloudburst.core.dag import Dag, FirstOf, make_steps
from cloudburst.core.messages import Buffer, RunContext, Start
from cloudburst.core.options import Batch
from cloudburst.core.plan import FunctionInfo, Plan, compile_dag, compile_function
from cloudburst.core.wire import pack_context
from cloudburst.executor.closer import Closer
from cloudburst.executor.doorbell import Doorbell
from cloudburst.executor.events import Deliver, Done, PlanLoaded, Work
from cloudburst.executor.functions import Functions
from cloudburst.executor.instances import Instances
from cloudburst.executor.nested import NestedCalls, NestedLink
from cloudburst.executor.post import PostOffice
from cloudburst.executor.runner import Runner
from cloudburst.executor.state import ExecutorState
from cloudburst.executor.waiting import Waiting
from cloudburst.kvs import keys
from cloudburst.kvs.base import KeyValueStore, Put
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.objects import write_objects
from cloudburst.serialization import failure_in, join, pack, pack_function, unpack
from cloudburst.transport import Context, Peers

ADDRESS = "ipc:///nowhere/e-1"

NO_BATCH = Batch()


class Given(NamedTuple):
    """A step's own arguments."""

    positional: tuple[Any, ...]
    keywords: dict[str, Any]


def given(*positional: Any, **keywords: Any) -> Given:
    return Given(positional, keywords)


def in_vain(doorbell: Doorbell) -> Waiting:
    """Waiting where nothing ever comes."""
    return Waiting(lambda _: False, lambda *, waits: None, doorbell)


def no_calls(store: KeyValueStore) -> NestedCalls:
    """Calls that nobody hears."""
    doorbell = Doorbell(lambda: False)
    return NestedCalls(NestedLink(ADDRESS, lambda _: None, in_vain(doorbell), doorbell), store)


class Stage:
    """One executor without its sockets: state and runner, and a store in memory."""

    def __init__(
        self,
        *,
        idle: float = 600.0,
        store: KeyValueStore | None = None,
        budget: int = 0,
        resident: Callable[[], int] = lambda: 0,
    ) -> None:
        self.memory = MemoryStore()
        self.store = store or self.memory
        self.state = ExecutorState(ADDRESS)
        self.objects = ObjectReader(self.store)
        self.instances = Instances(Closer(self.objects).close, idle, budget, resident)
        self.functions = Functions(self.store, self.instances)
        self.doorbell = Doorbell(lambda: False)
        peers = Peers(Context())
        self.waits: Callable[[float], bool] = lambda _: False
        waiting = Waiting(lambda seconds: self.waits(seconds), lambda *, waits: None, self.doorbell)
        self.post = PostOffice(ADDRESS, peers, self.store, waiting, self.doorbell)
        self.nested = no_calls(self.store)
        self.runner = self.runner_with(self.functions)
        self.infos: dict[str, FunctionInfo] = {}
        self.numbers = itertools.count(1)

    def runner_with(self, functions: Functions) -> Runner:
        """A runner here, of these functions."""
        return Runner(
            "e-1", ADDRESS, self.objects, self.post, self.nested, functions, self.doorbell
        )

    def register(self, batch: Batch = NO_BATCH, **functions: object) -> None:
        """Register functions under their names.

        Args:
            batch: how their calls are put together, if they take several.
            functions: by name.
        """
        for name, function in functions.items():
            code = pack_function(function, name)
            self.memory.execute([Put(keys.code_key(code.version), code.blob)])
            self.infos[name] = FunctionInfo(name, code.version, code.is_class, 0, 0, *batch)

    def put(self, **items: Any) -> None:
        write_objects(self.memory, items)

    def dag(
        self,
        edges: str,
        *,
        name: str = "dag",
        first_of: Mapping[str, list[Any]] = MappingProxyType({}),
        **functions: str,
    ) -> Plan:
        """The plan of a DAG, ``"a>c b>c"``.

        Args:
            edges: pairs of steps; or one step alone.
            name: the DAG's name.
            first_of: of the steps that are fired by the first result that counts, what does not.
            functions: of each step, its function, if that is not named alike.
        """
        pairs = [(source, sink) for source, _, sink in (e.partition(">") for e in edges.split())]
        names = dict.fromkeys(end for pair in pairs for end in pair if end)
        said = [(step, functions.get(step, step)) for step in names]
        invalid = {step: bytes(join(pack(values).frames)) for step, values in first_of.items()}
        steps = make_steps([FirstOf(s, invalid[s[0]]) if s[0] in invalid else s for s in said])
        connections = tuple(pair for pair in pairs if pair[1])
        return compile_dag(Dag(name, steps, connections), self.infos)

    def lone(self, name: str) -> Plan:
        """The plan of a call of a function by itself."""
        return compile_function(self.infos[name])

    def call(self, function: object, *positional: Any, **keywords: Any) -> Any:
        """Register a function as ``f`` and call it; what it returns, or raises at its caller."""
        self.register(f=function)
        return self.run(self.lone("f"), f=given(*positional, **keywords))

    def run(self, plan: Plan, *, patience: float = 0.0, **own: Given) -> Any:
        """Run a plan; what it returns, or raises at its caller."""
        return outcome(self.last(plan, patience=patience, **own))

    def failure(self, plan: Plan, *, patience: float = 0.0, **own: Given) -> BaseException:
        """Run a plan that is to fail; what its caller sees."""
        end = self.last(plan, patience=patience, **own)
        assert end.failed
        failure = failure_in(unpack(end.frames))
        assert failure is not None
        return failure.exception()

    def last(self, plan: Plan, *, patience: float = 0.0, **own: Given) -> Deliver:
        """Run a plan; how it ends."""
        self.start(plan, patience=patience, **own)
        while True:
            for command in self.state.handle(self.next()):
                if isinstance(command, Deliver):
                    return command

    def start(self, plan: Plan, *, patience: float = 0.0, **own: Given) -> str:
        """Send a run of a plan to the executor. Returns its id."""
        return self.send(plan, own, patience=patience)

    def send(
        self, plan: Plan, own: Mapping[str, Given], *, patience: float = 0.0, warms: bool = False
    ) -> str:
        """As `start`; ``warms`` is whether its code is only to be loaded."""
        spec: list[tuple[int, str, int]] = []
        frames: list[Buffer] = []
        for step, keyword, value in _listed(own):
            packed = pack(value).frames
            spec.append((plan.step_index[step], keyword, len(packed)))
            frames += [bytes(frame) for frame in packed]
        context = RunContext(
            plan=plan.id,
            executors=(ADDRESS,),
            places=(0,) * len(plan.segments),
            given=tuple(plan.step_index[step] for step in own),
            client="client",
            reply_to="",
            store=True,
            output_key="",
            patience=patience,
            ttl=60.0,
            retried=False,
            warms=warms,
        )
        self.state.handle(PlanLoaded(plan))
        run_id = f"run-{next(self.numbers)}"
        self.state.handle(Start(run_id, 1, pack_context(context), tuple(spec), frames))
        return run_id

    def begin(self, plan: Plan, *own: Given, patience: float = 0.0) -> list[str]:
        """Send a run of a lone function for each of these arguments. Returns their ids."""
        return [self.send(plan, {plan.target: one}, patience=patience) for one in own]

    def batch(self, now: float = 1e9) -> list[Done]:
        """Run the next segment, or batch, if there is one."""
        works = self.state.next_work(now)
        return self.runner.run(works) if works else []

    def ends(self) -> dict[str, Deliver]:
        """Run all that can run; how each run ends."""
        ends: dict[str, Deliver] = {}
        while dones := self.batch():
            for done in dones:
                for command in self.state.handle(done):
                    if isinstance(command, Deliver):
                        ends[command.finished.run_id] = command
            self.state.validate()
        return ends

    def outcomes(self) -> list[Any]:
        """Run all that can run; what each run returns or raises, in the order of their calls."""
        ends = self.ends()
        return [shown(ends[run_id]) for run_id in sorted(ends, key=lambda name: int(name[4:]))]

    def work(self) -> Work:
        """Take out the segment that is to run next."""
        (work,) = self.state.next_work()
        return work

    def next(self) -> Done:
        """Run the next segment."""
        (done,) = self.runner.run([self.work()])
        return done

    def keep_failure(self, key: str, end: Deliver) -> None:
        """Store the end of a run as its result."""
        self.memory.execute([Put(keys.object_key(key), join(end.frames))])


def outcome(end: Deliver) -> Any:
    """What the caller of a run gets."""
    value = unpack(end.frames)
    failure = failure_in(value)
    assert end.failed == (failure is not None)
    if failure is not None:
        raise failure.exception()
    return value


def shown(end: Deliver) -> Any:
    """What the caller of a run gets, be it an exception."""
    try:
        return outcome(end)
    except BaseException as error:
        return error


def _listed(own: Mapping[str, Given]) -> list[tuple[str, str, Any]]:
    return [
        (step, keyword, value)
        for step, (positional, keywords) in own.items()
        for keyword, value in [*(("", value) for value in positional), *keywords.items()]
    ]
