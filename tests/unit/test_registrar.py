"""Requests about functions and DAGs, and changes made one at a time."""

from __future__ import annotations

import itertools

import pytest

from cloudburst.core.dag import Dag, Step, make_steps
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo
from cloudburst.core.requests import (
    DagFound,
    DeleteDag,
    DeleteFunction,
    Done,
    FunctionFound,
    GetDag,
    GetFunction,
    ListDags,
    ListFunctions,
    Names,
    Refused,
    RegisterDag,
    RegisterFunction,
)
from cloudburst.errors import KVSUnavailable
from cloudburst.scheduler.events import Command, Send, Write
from cloudburst.scheduler.registrar import Registrar

RESOURCES = ("gpu", "ssd")
"""What hosts of the cluster have."""


class Office:
    """A registrar, and a store that writes when it is told to."""

    def __init__(self) -> None:
        self.registrar = Registrar(itertools.count(1), lambda: RESOURCES)
        self.writes: list[Write] = []

    def ask(self, message: object, client: str = "client") -> list[object]:
        """What is replied at once."""
        return self._sort(list(self.registrar.request(client, message)))

    def write(self, outcome: object = None) -> list[object]:
        """The store carries out the eldest write; what is replied to that."""
        write = self.writes.pop(0)
        done = outcome or [None] * len(write.operations)
        return self._sort(list(self.registrar.written(write.token, done)))

    def do(self, message: object) -> list[object]:
        replies = self.ask(message)
        return replies or self.write()

    def _sort(self, commands: list[Command]) -> list[object]:
        self.registrar.validate()
        self.writes += [command for command in commands if isinstance(command, Write)]
        return [command.message for command in commands if isinstance(command, Send)]


def register(name: str, version: str = "v1", request: int = 1, needs: str = "") -> RegisterFunction:
    info = FunctionInfo(name, version, is_class=False, needs=needs)
    return RegisterFunction(request, info, NOTHING_SAID)


def register_dag(
    name: str, *steps: str, edges: tuple[tuple[str, str], ...] = (), only_check: bool = False
) -> RegisterDag:
    return RegisterDag(2, *Dag(name, make_steps(steps), edges), NOTHING_SAID, only_check)


@pytest.fixture
def office() -> Office:
    """Functions ``f`` and ``g`` and the DAG ``d`` of both are registered."""
    office = Office()
    office.do(register("f"))
    office.do(register("g"))
    office.do(register_dag("d", "f", "g", edges=(("f", "g"),)))
    return office


def test_a_function_is_registered_when_it_is_written() -> None:
    office = Office()

    assert office.ask(register("f")) == []
    assert office.ask(ListFunctions(2, "")) == [Names(2, ())]
    assert office.write() == [Done(1, changed=True)]
    assert office.ask(ListFunctions(3, "")) == [Names(3, ("f",))]


def test_the_reply_goes_to_who_asked() -> None:
    registrar = Registrar(itertools.count(1), lambda: RESOURCES)
    (write,) = registrar.request("one", register("f"))
    assert isinstance(write, Write)
    list(registrar.request("two", register("g")))

    first, _ = registrar.written(write.token, [None, None])

    assert first == Send("one", Done(1, changed=True))


def test_the_same_function_again_changes_nothing(office: Office) -> None:
    assert office.ask(register("f")) == [Done(1, changed=False)]
    assert office.writes == []


def test_a_dag_is_registered_once(office: Office) -> None:
    request = register_dag("new", "f")

    assert office.do(request) == [Done(2, changed=True)]
    assert office.do(request) == [Done(2, changed=False)]


def test_a_write_that_fails_refuses_the_request_and_changes_nothing(office: Office) -> None:
    office.ask(register("f", "v2"))

    assert office.write(KVSUnavailable("the store is away")) == [
        Refused(1, "KVSUnavailable", ("the store is away",))
    ]
    assert office.ask(GetFunction(1, "f")) == [FunctionFound(1, "f", "v1", is_class=False)]


def test_after_a_write_that_failed_the_next_change_is_made(office: Office) -> None:
    office.ask(register("f", "v2"))
    office.ask(register("f", "v3", request=7))
    office.write(KVSUnavailable("the store is away"))

    assert office.write() == [Done(7, changed=True)]
    assert office.registrar.registry.functions["f"].version == "v3"


def test_changes_are_written_one_after_the_other(office: Office) -> None:
    for number in range(3):
        assert office.ask(register(f"h{number}", request=number)) == []
    assert len(office.writes) == 1

    for number in range(3):
        assert len(office.writes) == 1
        assert office.write() == [Done(number, changed=True)]


def test_a_dag_waits_for_the_function_that_is_being_replaced(office: Office) -> None:
    office.ask(register("f", "v2"))
    office.ask(register_dag("new", "f"))
    office.write()
    office.write()

    plan = office.registrar.registry.plan("new", is_dag=True)
    assert plan.steps[0].version == "v2"


def test_the_second_of_two_equal_changes_finds_it_done(office: Office) -> None:
    office.ask(register("h"))
    assert office.ask(register("h", request=9)) == []

    assert office.write() == [Done(1, changed=True), Done(9, changed=False)]
    assert office.writes == []


def test_a_function_and_the_dag_of_it_may_be_sent_without_waiting(office: Office) -> None:
    office.ask(register("new"))
    assert office.ask(register_dag("of_new", "new")) == []

    assert office.write() == [Done(1, changed=True)]
    assert office.write() == [Done(2, changed=True)]


def test_questions_are_answered_while_a_change_is_being_written(office: Office) -> None:
    office.ask(register("f", "v2"))

    assert office.ask(GetFunction(1, "f")) == [FunctionFound(1, "f", "v1", is_class=False)]


def test_a_different_dag_under_a_used_name_is_refused(office: Office) -> None:
    (refusal,) = office.ask(register_dag("d", "f"))

    assert isinstance(refusal, Refused)
    assert refusal.error == "DagError"
    assert refusal.reasons == (
        "another DAG is registered as 'd'; delete it first or choose a new name.",
    )


def test_every_problem_of_a_dag_is_a_reason(office: Office) -> None:
    for only_check in (True, False):
        (refusal,) = office.ask(
            register_dag("x", "f", "h", edges=(("f", "q"),), only_check=only_check)
        )
        assert isinstance(refusal, Refused)
        assert len(refusal.reasons) == 2


def test_a_dag_may_be_checked_without_registering_it(office: Office) -> None:
    assert office.ask(register_dag("x", "f", only_check=True)) == [Done(2, changed=False)]
    assert office.ask(GetDag(1, "x")) == [Refused(1, "UnknownDag", ("no DAG 'x' is registered.",))]


@pytest.mark.parametrize("steps", [(("two words", "f"),), (("a", "b/c"),)])
def test_steps_with_names_that_cannot_be_used_are_refused(
    office: Office, steps: tuple[tuple[str, str], ...]
) -> None:
    dag = Dag("x", tuple(Step(*step) for step in steps), ())
    (refusal,) = office.ask(RegisterDag(1, *dag, NOTHING_SAID, only_check=False))

    assert isinstance(refusal, Refused)
    assert refusal.error == "DagError"


def test_a_name_that_cannot_be_used_is_refused(office: Office) -> None:
    (refusal,) = office.ask(register("two words"))

    assert isinstance(refusal, Refused)
    assert refusal.error == "InvalidName"


def test_a_function_used_by_a_dag_cannot_be_deleted(office: Office) -> None:
    assert office.ask(DeleteFunction(1, "f")) == [
        Refused(1, "UsageError", ("function 'f' is used by DAG 'd'; delete that first",))
    ]


def test_what_is_deleted_is_gone(office: Office) -> None:
    assert office.do(DeleteDag(1, "d")) == [Done(1, changed=True)]
    assert office.do(DeleteFunction(2, "f")) == [Done(2, changed=True)]

    assert office.ask(ListDags(3)) == [Names(3, ())]
    assert office.ask(ListFunctions(4, "")) == [Names(4, ("g",))]


def test_deleting_what_is_not_there_changes_nothing(office: Office) -> None:
    assert office.ask(DeleteDag(1, "x")) == [Done(1, changed=False)]
    assert office.ask(DeleteFunction(1, "x")) == [Done(1, changed=False)]


def test_functions_are_listed_by_prefix_in_order() -> None:
    office = Office()
    for name in ("b1", "a2", "a10", "b"):
        office.do(register(name))

    assert office.ask(ListFunctions(1, "a")) == [Names(1, ("a10", "a2"))]
    assert office.ask(ListFunctions(1, "")) == [Names(1, ("a10", "a2", "b", "b1"))]
    assert office.ask(ListFunctions(1, "zzz")) == [Names(1, ())]


def test_a_dag_is_found_as_it_was_registered(office: Office) -> None:
    assert office.ask(GetDag(1, "d")) == [DagFound(1, "d", (("f", "f"), ("g", "g")), (("f", "g"),))]
    assert office.ask(ListDags(1)) == [Names(1, ("d",))]


def test_what_is_not_found_is_refused_with_a_hint(office: Office) -> None:
    office.do(register("square"))

    assert office.ask(GetFunction(1, "sqare")) == [
        Refused(
            1, "UnknownFunction", ("no function 'sqare' is registered; did you mean 'square'?",)
        )
    ]


def test_a_write_of_somebody_else_is_none_of_its_business(office: Office) -> None:
    assert list(office.registrar.written(12345, [None])) == []


def test_what_is_no_request_is_not_answered(office: Office) -> None:
    assert office.ask(Done(1, changed=True)) == []
    assert office.writes == []
