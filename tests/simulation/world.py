"""A world: all processes of a cluster and its clients, and whoever makes trouble for them.

Real are the states of scheduler and executors, hosts' pools and leases, the doorbell, the store
in memory with the commits to it and what a new scheduler restores from it, and the wire. Models
are what carries messages in and commands out, users' functions, the zygote, and the client.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from cloudburst.core.messages import Call
from cloudburst.core.options import RunOptions
from cloudburst.core.plan import Plan
from cloudburst.core.requests import DeleteDag, RegisterFunction
from cloudburst.scheduler.registry import Registry

from .client import ClientProcess
from .clock import Clock, Trace
from .functions import Argument, Behaviour
from .ground import SCHEDULER, Ground
from .host import HostProcess
from .kvs import MACHINE, Kvs
from .network import Connected, Harsh, Network
from .process import Process
from .scenario import Action, Fault, Invoke, Join, Remove, Renew, Scenario, Stop, Trouble
from .scheduler import SchedulerProcess
from .witness import Witness

Undo = Callable[[], None]


class World:
    """One world.

    Args:
        scenario: what it is made of.
        keep: how many entries of its trace are kept.
        digested: whether its trace has a digest.
        validate_every: see `Ground`.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        keep: int = 60,
        digested: bool = False,
        validate_every: int = 1,
    ) -> None:
        self.scenario = scenario
        self.clock = Clock()
        self.trace = Trace(self.clock, keep, digested=digested)
        self.witness = Witness(lambda: self.clock.now)
        self.dice = random.Random(f"{scenario.seed} world")
        self.network = self._network()
        self.kvs = Kvs(
            self.clock,
            random.Random(f"{scenario.seed} store"),
            self.trace,
            self.network,
            lambda operations, answers: self.witness.watch(self.kvs.store, operations, answers),
        )
        functions = {function.name: function for function in scenario.functions}
        self.ground = Ground(
            self.clock,
            self.dice,
            self.trace,
            self.network,
            self.kvs,
            self.witness,
            functions,
            validate_every,
        )
        self.registry = Registry()
        self.hosts: list[HostProcess] = []
        self.clients: list[ClientProcess] = []
        self._undo: dict[int, Undo] = {}
        self._undos = 0
        self._calls = 0
        self._renewed = False
        self._register()
        self.scheduler = SchedulerProcess(self.ground)
        self._begin(self.scheduler)
        for executors in scenario.hosts:
            self.add_host(executors)
        for number, direct in enumerate(scenario.clients, 1):
            client = ClientProcess(self.ground, f"c{number}", direct=direct)
            self.clients.append(client)
            self._begin(client)

    def _network(self) -> Network:
        dice = random.Random(f"{self.scenario.seed} network")
        if not self.scenario.harsh:
            return Connected(
                self.clock, dice, self.trace, self.scenario.latency, self.scenario.slow
            )
        network = Harsh(self.clock, dice, self.trace, self.scenario.latency, self.scenario.slow)
        network.loss = dice.choice((0.0, 0.01, 0.05))
        network.repeats = dice.choice((0.0, 0.02, 0.1))
        return network

    def _begin(self, process: Process) -> None:
        self.network.join(process)
        process.start()

    def add_host(self, executors: int) -> None:
        """One more host joins."""
        # What functions need, every other host has, the first among them.
        needs = {function.needs for function in self.scenario.functions} - {""}
        resources = () if len(self.hosts) % 2 else tuple(sorted(needs))
        name = f"h{len(self.hosts) + 1}"
        host = HostProcess(self.ground, name, executors, self.scenario.more, resources)
        self.hosts.append(host)
        self._begin(host)

    # what is registered

    def _register(self) -> None:
        for function in self.scenario.functions:
            change = self.registry.prepare_function(function.info("v1"))
            assert change is not None
            self.kvs.store.execute(change.operations)
            self.registry.apply(change)
        for dag in self.scenario.dags:
            change = self.registry.prepare_dag(dag)
            assert change is not None
            self.kvs.store.execute(change.operations)
            self.registry.apply(change)
        self._note_plans()

    def _note_plans(self) -> None:
        for is_dag, plans in (
            (False, self.registry.function_plans),
            (True, self.registry.dag_plans),
        ):
            for name, plan in plans.items():
                self.witness.plans.setdefault((is_dag, name), []).append(plan)

    # what happens

    def do(self, action: Action) -> None:
        """Let something happen."""
        self.trace.note("world", action)
        match action:
            case Fault():
                self._trouble(action)
            case Invoke():
                self._call(action)
            case Stop(client=client, run=run):
                self._with_run(client, run, ClientProcess.cancel)
            case Join(client=client, run=run):
                self._with_run(client, run, ClientProcess.join)
            case Renew(function=pick):
                self._renew(pick)
            case Remove(dag=pick):
                self._remove(pick)

    def _client(self, pick: int) -> ClientProcess | None:
        living = [client for client in self.clients if client.alive]
        return living[pick % len(living)] if living else None

    def _with_run(
        self, client_pick: int, run: int, do: Callable[[ClientProcess, str], None]
    ) -> None:
        client = self._client(client_pick)
        stored = [run_id for run_id, facts in self.witness.runs.items() if facts.call.store]
        if client is not None and stored:
            do(client, stored[run % len(stored)])

    def _call(self, invoke: Invoke) -> None:
        client = self._client(invoke.client)
        if client is None:
            return
        targets = sorted(self.witness.plans)
        is_dag, target = targets[invoke.target % len(targets)]
        plan = self.witness.plans[is_dag, target][0]
        given = {} if invoke.warm else self._arguments(invoke, plan)
        self._calls += 1
        arguments = [(step, item) for step, items in given.items() for item in items]
        references = [(step, item.text) for step, item in arguments if item.is_reference]
        call = Call(
            run_id=f"{client.name}-{self._calls}",
            target=target,
            is_dag=is_dag,
            arguments=tuple((step, "", 1) for step, _ in arguments),
            references=tuple(name for _, name in references),
            reply_to=client.reply_to,
            store=invoke.store and not invoke.warm,
            output_key="",
            patience=invoke.patience,
            options=invoke.options,
            warm=invoke.warm,
            readers=tuple(step for step, _ in references),
            frames=[frame for _, item in arguments for frame in item.frames()],
        )
        client.call(call, given, RunOptions(*invoke.options))

    def _arguments(self, invoke: Invoke, plan: Plan) -> dict[str, list[Argument]]:
        stored = [run_id for run_id, facts in self.witness.runs.items() if facts.call.store]
        given = dict[str, list[Argument]]()
        for number, (step, run) in enumerate(invoke.arguments):
            name = plan.steps[step % len(plan.steps)].name
            refers = run >= 0 and bool(stored)
            text = stored[run % len(stored)] if refers else f"a{number}"
            given.setdefault(name, []).append(Argument(text, refers))
        return given

    def _renew(self, pick: int) -> None:
        client, function = (
            self._client(0),
            self.scenario.functions[pick % len(self.scenario.functions)],
        )
        if client is None or self._renewed:
            return
        self._renewed = True
        change = self.registry.prepare_function(function.info("v2"))
        assert change is not None
        self.registry.apply(change)
        self._note_plans()
        client.request(RegisterFunction(1, function.info("v2"), RunOptions()))

    def _remove(self, pick: int) -> None:
        client, dag = self._client(0), self.scenario.dags[pick % len(self.scenario.dags)]
        if client is not None:
            self.witness.deleted.add(dag.name)
            client.request(DeleteDag(2, dag.name))

    # trouble

    def calm(self) -> None:
        """All trouble ends, and there is somebody to do the work."""
        self.trace.note("world", "all trouble ends")
        self.network.lossless = True
        for number in list(self._undo):
            self._end(number)
        while not self._is_served():
            self.add_host(1)

    def _is_served(self) -> bool:
        """Whether there are hosts for all that functions need."""
        at_work = [host for host in self.hosts if host.alive and not host.pool.draining]
        offered = {resource for host in at_work for resource in host.resources}
        needs = {function.needs for function in self.scenario.functions} - {""}
        return bool(at_work) and needs <= offered

    def behaviour_of(self, function: str) -> Behaviour:
        """What a function does."""
        return self.ground.functions[function].behaviour

    def _later(self, seconds: float, undo: Undo) -> None:
        """Trouble ends after so many seconds, or when all does."""
        self._undos += 1
        self._undo[self._undos] = undo
        self.clock.after(seconds, partial(self._end, self._undos))

    def _end(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            undo()

    def _trouble(self, fault: Fault) -> None:
        trouble, pick, seconds = fault
        match trouble:
            case Trouble.SCHEDULER_DIES | Trouble.SCHEDULER_STOPS:
                self._scheduler_trouble(trouble, seconds)
            case Trouble.CLIENT_DIES:
                client = self._client(pick)
                if client is not None:
                    client.kill()
            case Trouble.STORE_DOWN | Trouble.STORE_FORGETFUL:
                self._store_trouble(trouble, seconds)
            case Trouble.CUT | Trouble.CUT_ONE_WAY:
                self._cut(pick, seconds, both=trouble is Trouble.CUT)
            case Trouble.CONNECTIONS_BREAK:
                names = sorted(name for name, one in self.network.processes.items() if one.alive)
                if names:
                    self.network.shake(names[pick % len(names)])
            case Trouble.STORM:
                self._storm(seconds)
            case _:
                self._host_trouble(trouble, pick, seconds)

    def _scheduler_trouble(self, trouble: Trouble, seconds: float) -> None:
        scheduler = self.scheduler
        if not scheduler.alive:
            return
        if trouble is Trouble.SCHEDULER_STOPS:
            scheduler.pause()
            self._later(seconds, scheduler.resume)
        else:
            scheduler.kill()
            self._later(seconds, self._new_scheduler)

    def _new_scheduler(self) -> None:
        self.scheduler = SchedulerProcess(self.ground)
        self._begin(self.scheduler)

    def _store_trouble(self, trouble: Trouble, seconds: float) -> None:
        kvs = self.kvs

        def up() -> None:
            kvs.down -= 1

        def good() -> None:
            kvs.loss = 0.0

        if trouble is Trouble.STORE_DOWN:
            kvs.down += 1
            self._later(seconds, up)
        else:
            kvs.loss = 0.3
            self._later(seconds, good)

    def _cut(self, pick: int, seconds: float, *, both: bool) -> None:
        machines = [
            SCHEDULER,
            MACHINE,
            *(one.name for one in (*self.hosts, *self.clients) if one.alive),
        ]
        one = machines[pick % len(machines)]
        rest = [machine for machine in machines if machine != one]
        other = rest[(pick // len(machines)) % len(rest)]
        ways = [(one, other), (other, one)] if both else [(one, other)]
        for way in ways:
            self.network.cut(*way)

        def heal() -> None:
            for way in ways:
                self.network.heal(*way)

        self._later(seconds, heal)

    def _storm(self, seconds: float) -> None:
        network = self.network
        if not isinstance(network, Harsh):
            return
        before = network.loss, network.repeats
        network.loss, network.repeats = 0.3, 0.3

        def over() -> None:
            network.loss, network.repeats = before

        self._later(seconds, over)

    def _host_trouble(self, trouble: Trouble, pick: int, seconds: float) -> None:
        living = [host for host in self.hosts if host.alive]
        if not living:
            return
        host = living[pick % len(living)]
        another = partial(self.add_host, host.size.least)
        match trouble:
            case Trouble.EXECUTOR_DIES:
                running = [executor.name for executor in host.living()]
                if running:
                    host.crash(running[pick // 9 % len(running)], "killed by SIGKILL")
            case Trouble.ZYGOTE_DIES:
                host.lose_zygote()
            case Trouble.HOST_DIES:
                host.kill()
                self._later(seconds, another)
            case Trouble.HOST_STOPS:
                host.pause()
                self._later(seconds, host.resume)
            case Trouble.MACHINE_STOPS:
                host.freeze()
                self._later(seconds, host.thaw)
            case Trouble.HOST_DRAINS:
                host.drain()
                self._later(seconds, another)
