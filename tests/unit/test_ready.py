"""What may run now: the order of works, and how batches are put together."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from executing import Job, job

from cloudburst.core.options import Batch
from cloudburst.core.wire import pack_context
from cloudburst.executor.events import Work
from cloudburst.executor.ready import Ready
from cloudburst.executor.share import make_route

PATIENT = Batch(3, 5.0)
"""Three at a time; the first waits five seconds for others."""

AT_ONCE = Batch(3, 0.0)


def work(run_id: str, call: Job, segment: int = 0) -> Work:
    route = make_route(call.context, pack_context(call.context), call.plan, "A")
    return Work(run_id, 1, route, segment, (), ())


def batched(names: str, batch: Batch = PATIENT, step: str = "f") -> list[Work]:
    """A work of the same batched function for each letter, which is its run."""
    return [work(name, job(step, "A", batched=step, batch=batch)) for name in names]


def plain(names: str) -> list[Work]:
    return [work(name, job("f", "A")) for name in names]


class Queue:
    """A `Ready`, and the runs that nobody wants any more."""

    def __init__(self, *works: list[Work]) -> None:
        self.ready = Ready()
        self.dropped: Collection[str] = ()
        for some in works:
            self.ready.add(some)

    def take(self, now: float = 0.0) -> str:
        """The runs of what is to run next."""
        works = self.ready.take(now, lambda work: work.run_id not in self.dropped)
        return "".join(work.run_id for work in works)

    def take_all(self, now: float = 0.0) -> list[str]:
        taken: list[str] = []
        while works := self.take(now):
            taken.append(works)
        return taken


def test_where_there_is_nothing_nothing_is_due() -> None:
    queue = Queue()

    assert queue.take() == ""
    assert queue.ready.due_at() is None


def test_works_run_in_the_order_in_which_they_came() -> None:
    queue = Queue(plain("ab"), plain("c"))
    assert queue.ready.due_at() == 0.0

    assert queue.take_all() == ["a", "b", "c"]
    assert queue.ready.due_at() is None


def test_what_is_not_wanted_is_dropped() -> None:
    queue = Queue(plain("abc"))
    queue.dropped = "ab"

    assert queue.take() == "c"
    assert not queue.ready.works


def test_if_nothing_is_wanted_nothing_is_left() -> None:
    queue = Queue(plain("ab"))
    queue.dropped = "ab"

    assert queue.take() == ""
    assert queue.ready.due_at() is None


# batches


def test_works_of_the_same_function_are_one_batch() -> None:
    assert Queue(batched("abc")).take_all() == ["abc"]


def test_a_batch_is_no_larger_than_it_may_be() -> None:
    assert Queue(batched("abcdefgh", AT_ONCE)).take_all() == ["abc", "def", "gh"]


def test_one_that_need_not_wait_begins_with_what_is_there() -> None:
    assert Queue(batched("a", AT_ONCE)).take() == "a"


def test_one_that_is_full_does_not_wait() -> None:
    assert Queue(batched("abc", Batch(3, 1e9))).take() == "abc"


def test_others_than_those_between_do_not_keep_it_apart() -> None:
    queue = Queue(batched("a"), plain("x"), batched("b"), plain("y"), batched("c"))

    assert queue.take_all() == ["abc", "x", "y"]


def test_works_of_another_function_are_another_batch() -> None:
    queue = Queue(batched("a", AT_ONCE, "f"), batched("b", AT_ONCE, "g"), batched("c", AT_ONCE))

    assert queue.take_all() == ["ac", "b"]


def test_so_are_those_of_another_step_of_the_same_dag() -> None:
    call = job("ac bc", "AAA", batched="ab", batch=AT_ONCE)
    queue = Queue([work("r", call, 0), work("r", call, 1), work("s", call, 0), work("s", call, 1)])

    taken = [
        [(w.run_id, w.segment) for w in queue.ready.take(0.0, lambda _: True)] for _ in range(2)
    ]
    assert taken == [[("r", 0), ("s", 0)], [("r", 1), ("s", 1)]]


def test_a_step_that_is_run_by_itself_is_in_no_batch() -> None:
    call = job("ab", "AA", batched="b", batch=AT_ONCE)
    works = [work(run_id, call, segment) for run_id in "rs" for segment in (0, 1)]

    assert Queue(works).take_all() == ["r", "rs", "s"]


@pytest.mark.parametrize("how", ["alone", "warms"])
def test_calls_that_are_to_be_alone_are_in_no_batch(how: str) -> None:
    single = job("f", "A", batched="f", alone=how == "alone", warms=how == "warms")
    other = job("f", "A", batched="f")
    queue = Queue([work("a", other), work("b", single), work("c", single), work("d", other)])

    assert single.plan.id == other.plan.id
    assert queue.take_all() == ["ad", "b", "c"]


def test_those_that_are_not_wanted_make_no_batch_full() -> None:
    queue = Queue(batched("abcd"))
    queue.dropped = "bc"

    assert queue.take() == ""
    assert queue.take(5.0) == "ad"


# waiting for more


def test_a_batch_waits_for_others_so_long_and_no_longer() -> None:
    queue = Queue(batched("ab"))

    assert queue.take(10.0) == ""
    assert queue.ready.due_at() == 15.0
    assert queue.take(14.9) == ""
    assert queue.take(15.0) == "ab"
    assert queue.ready.due_at() is None


def test_it_waits_from_the_first_on_however_many_come() -> None:
    queue = Queue(batched("a"))
    queue.take(10.0)
    queue.ready.add(batched("b"))
    assert queue.ready.due_at() == 0.0, "it may be full now"

    assert queue.take(14.0) == ""
    assert queue.ready.due_at() == 15.0
    queue.ready.add(batched("c"))
    assert queue.take(14.1) == "abc"


def test_those_that_it_had_no_room_for_wait_anew() -> None:
    queue = Queue(batched("abcd"))
    assert queue.take(10.0) == "abc"

    assert queue.take(11.0) == ""
    assert queue.ready.due_at() == 16.0


def test_others_pass_it_while_it_waits() -> None:
    queue = Queue(batched("a"), plain("xy"))

    assert queue.take_all(10.0) == ["x", "y"]
    assert queue.ready.due_at() == 15.0
    assert queue.take(15.0) == "a"


def test_they_do_not_hold_it_up_for_ever() -> None:
    queue = Queue(batched("a"))
    queue.take(10.0)
    queue.ready.add(plain("xyz"))

    assert queue.take(12.0) == "x"
    assert queue.take_all(15.0) == ["a", "y", "z"]


def test_a_full_batch_passes_one_that_waits() -> None:
    queue = Queue(batched("a", step="f"), batched("bcd", step="g"))

    assert queue.take(10.0) == "bcd"
    assert queue.take(15.0) == "a"


def test_of_several_that_wait_the_next_one_is_due() -> None:
    queue = Queue(batched("a", Batch(3, 5.0), "f"), batched("b", Batch(3, 2.0), "g"))
    assert queue.take(10.0) == ""

    assert queue.ready.due_at() == 12.0
    assert queue.take(12.0) == "b"
    assert queue.take(12.0) == ""
    assert queue.ready.due_at() == 15.0


def test_a_batch_of_which_nothing_is_wanted_is_forgotten() -> None:
    queue = Queue(batched("ab"))
    queue.take(10.0)
    queue.dropped = "ab"

    assert queue.take(11.0) == ""
    assert queue.ready.due_at() is None
    queue.ready.add(batched("c"))
    assert queue.take(15.0) == ""
    assert queue.ready.due_at() == 20.0


def test_even_if_something_else_was_taken_at_that_time() -> None:
    queue = Queue(batched("a"))
    queue.take(10.0)
    queue.ready.add(plain("x"))
    queue.dropped = "a"
    assert queue.take(11.0) == "x"

    queue.ready.add(batched("b"))
    assert queue.take(15.0) == "", "it is not for the one that is gone that it has waited"
    assert queue.ready.due_at() == 20.0


def test_even_if_a_call_that_is_to_be_alone_is_left() -> None:
    queue = Queue(batched("a"))
    queue.take(10.0)
    queue.ready.add([*plain("x"), work("b", job("f", "A", batched="f", batch=PATIENT, alone=True))])
    queue.dropped = "a"
    assert queue.take(11.0) == "x"

    queue.ready.add(batched("c"))
    assert queue.take_all(15.0) == ["b"]


def test_the_works_of_a_batch_keep_their_order() -> None:
    queue = Queue(batched("cab"), batched("fed"))

    assert queue.take_all() == ["cab", "fed"]
