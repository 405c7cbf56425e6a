"""What needs a resource that no host has is refused when it is registered, with the reason."""

from __future__ import annotations

import itertools

import pytest

from cloudburst.core.dag import Dag, Step, make_steps, with_needs
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import Done, GetDag, Refused, RegisterDag, RegisterFunction
from cloudburst.scheduler.events import Send, Write
from cloudburst.scheduler.registrar import Registrar


class Office:
    """A registrar, a store that writes at once, and hosts that come and go."""

    def __init__(self, *offered: str) -> None:
        self.offered = set(offered)
        self.registrar = Registrar(itertools.count(1), lambda: self.offered)

    def do(self, message: object) -> object:
        commands = list(self.registrar.request("client", message))
        replies = [command.message for command in commands if isinstance(command, Send)]
        for write in commands:
            if isinstance(write, Write):
                done: list[None] = [None] * len(write.operations)
                (said,) = self.registrar.written(write.token, done)
                assert isinstance(said, Send)
                replies.append(said.message)
        self.registrar.validate()
        (reply,) = replies
        return reply

    def function(self, name: str, needs: str = "", version: str = "v1") -> object:
        info = FunctionInfo(name, version, is_class=False, needs=needs)
        return self.do(RegisterFunction(1, info, NOTHING_SAID))

    def dag(self, dag: Dag, *, only_check: bool = False) -> object:
        return self.do(RegisterDag(2, *dag, NOTHING_SAID, only_check))


def needing(*names: str, resource: str = "gpu", of: str = "fg") -> Dag:
    """A DAG ``d`` of two steps one after the other, of which the named ones need a resource."""
    edges = tuple(itertools.pairwise(of))
    return Dag("d", with_needs(make_steps(list(of)), resource, names), edges)


@pytest.fixture
def office() -> Office:
    """Hosts with ``gpu`` and ``ssd``; ``f``, and ``g``, which needs ``gpu``, are registered."""
    office = Office("ssd", "gpu")
    office.function("f")
    office.function("g", "gpu")
    return office


def test_what_a_host_has_may_be_needed(office: Office) -> None:
    assert office.function("h", "ssd") == Done(1, changed=True)
    assert office.registrar.registry.functions["h"].needs == "ssd"
    assert office.dag(needing("f")) == Done(2, changed=True)
    plan = office.registrar.registry.plan("d", is_dag=True)
    assert [step.needs for step in plan.steps] == ["gpu", "gpu"]


def test_a_function_that_needs_what_no_host_has_is_refused(office: Office) -> None:
    reason = (
        "function 'h' needs 'tpu', which no host of this cluster has (there is gpu, ssd); "
        "start a host with --resources tpu."
    )
    assert office.function("h", "tpu") == Refused(1, "UsageError", (reason,))
    assert "h" not in office.registrar.registry.functions


def test_where_hosts_have_nothing_the_reason_says_so() -> None:
    refused = Office().function("h", "gpu")

    assert isinstance(refused, Refused)
    assert "has (there is none); start a host with --resources gpu." in refused.reasons[0]


def test_new_code_that_needs_what_no_host_has_leaves_the_old(office: Office) -> None:
    assert isinstance(office.function("f", "tpu", "v2"), Refused)

    assert office.registrar.registry.functions["f"].version == "v1"


def test_a_dag_is_refused_for_its_steps(office: Office) -> None:
    refused = office.dag(needing("g", "f", resource="tpu"))

    assert isinstance(refused, Refused)
    assert refused.error == "DagError"
    assert [reason.split(",")[0] for reason in refused.reasons] == [
        "step 'f' needs 'tpu'",
        "step 'g' needs 'tpu'",
    ]
    assert isinstance(office.do(GetDag(1, "d")), Refused)


def test_a_dag_is_refused_for_what_its_functions_need(office: Office) -> None:
    """They were registered when there was a host for them."""
    office.offered = {"ssd"}

    refused = office.dag(needing())

    assert isinstance(refused, Refused)
    assert [reason.split(",")[0] for reason in refused.reasons] == ["step 'g' needs 'gpu'"]
    assert office.dag(needing(of="f")) == Done(2, changed=True)


def test_what_a_step_needs_stands_in_place_of_what_its_function_needs(office: Office) -> None:
    office.offered = {"ssd"}

    assert office.dag(needing("g", resource="ssd")) == Done(2, changed=True)
    plan = office.registrar.registry.plan("d", is_dag=True)
    assert [step.needs for step in plan.steps] == ["", "ssd"]


@pytest.mark.parametrize("only_check", [True, False])
def test_what_is_missing_is_told_with_all_other_problems(office: Office, only_check: bool) -> None:
    steps = (Step("f", "f", "tpu"), Step("h", "h", "gpu"))
    refused = office.dag(Dag("d", steps, (("f", "x"),)), only_check=only_check)

    assert isinstance(refused, Refused)
    assert [reason.split(",")[0].split(" names ")[0] for reason in refused.reasons] == [
        "function 'h' is not registered.",
        "connection ('f'",
        "step 'f' needs 'tpu'",
    ]


def test_a_check_of_what_could_run_finds_nothing(office: Office) -> None:
    assert office.dag(needing("f"), only_check=True) == Done(2, changed=False)
    assert isinstance(office.do(GetDag(1, "d")), Refused)


def test_a_host_that_comes_makes_the_difference(office: Office) -> None:
    dag = needing("f", resource="tpu")
    assert isinstance(office.dag(dag), Refused)

    office.offered.add("tpu")
    assert office.dag(dag) == Done(2, changed=True)


def test_what_needs_nothing_never_waits_for_a_host() -> None:
    office = Office()

    assert office.function("f") == Done(1, changed=True)
    assert office.dag(needing(of="f")) == Done(2, changed=True)
