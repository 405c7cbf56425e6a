"""When instances of classes are closed, and with what."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pytest
from running import Stage, given

from cloudburst.executor.instances import LAST_MOMENTS, Instance, Instances
from cloudburst.executor.library import UserLibrary


class Shop:
    """Notes in the store how often its instances were closed, and what they had sold."""

    def __init__(self, library: UserLibrary, name: str = "shop") -> None:
        self.name = name
        self.sold = 0
        self.opened: int = library.get(f"{name} opened", 0) + 1
        library.put(f"{name} opened", self.opened)

    def run(self) -> int:
        self.sold += 1
        return self.sold

    def close(self, library: UserLibrary) -> None:
        library.put(f"{self.name} closed", [*library.get(f"{self.name} closed", []), self.sold])


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.register(shop=Shop)
    return stage


def closed(stage: Stage, name: str = "shop") -> Any:
    """What the instances of that name had sold when they were closed."""
    return stage.call(lambda library, key: library.get(key, []), f"{name} closed")


# when instances are closed


def test_an_instance_of_a_dag_stays_open(stage: Stage) -> None:
    assert [stage.run(stage.dag("shop")) for _ in range(3)] == [1, 2, 3]
    assert stage.instances.look() is not None

    assert closed(stage) == []


def test_an_instance_is_closed_when_its_dag_is_deleted(stage: Stage) -> None:
    one, two = stage.dag("shop", name="one"), stage.dag("shop", name="two")
    assert [stage.run(one), stage.run(one), stage.run(two)] == [1, 2, 1]

    stage.instances.drop_dag("one")
    stage.instances.look()
    stage.instances.look()

    assert closed(stage) == [2]
    assert len(stage.instances) == 1


def test_an_old_version_is_closed_when_a_new_one_has_taken_over(stage: Stage) -> None:
    stage.run(stage.dag("shop"))

    stage.register(shop=(Shop, "new"))
    assert [stage.run(stage.dag("shop")) for _ in range(2)] == [1, 2]

    assert (closed(stage), closed(stage, "new")) == ([1], [])


def test_a_new_version_that_cannot_be_made_leaves_the_old_one_open(stage: Stage) -> None:
    stage.run(stage.dag("shop"))

    stage.register(shop=(Shop, ("one", "too", "many")))
    assert stage.last(stage.dag("shop")).failed

    assert closed(stage) == []


def test_an_idle_instance_is_closed() -> None:
    stage = Stage(idle=0.0)
    stage.register(shop=Shop)
    stage.run(stage.dag("shop"))

    assert stage.instances.look() is None

    assert closed(stage) == [1]


def test_a_long_run_is_no_idleness() -> None:
    class Slow(Shop):
        def run(self) -> int:
            time.sleep(0.3)
            return super().run()

    stage = Stage(idle=0.2)
    stage.register(shop=Slow)
    stage.run(stage.dag("shop"))

    assert stage.instances.look() is not None
    assert closed(stage) == []


def test_all_are_closed_when_the_executor_ends(stage: Stage) -> None:
    stage.register(more=(Shop, "more"))
    stage.run(stage.dag("shop"))
    stage.run(stage.dag("more"))

    stage.instances.close()
    stage.instances.close()

    assert (closed(stage), closed(stage, "more")) == ([1], [1])
    assert len(stage.instances) == 0


def test_the_instance_of_a_lone_call_is_closed_before_its_result_is_there(stage: Stage) -> None:
    assert [stage.run(stage.lone("shop")) for _ in range(2)] == [1, 1]

    assert closed(stage) == [1, 1]


def test_it_is_closed_when_the_call_fails_too(stage: Stage) -> None:
    assert stage.last(stage.lone("shop"), shop=given("too many")).failed

    assert closed(stage) == [0]


def test_an_instance_that_could_not_be_made_is_not_closed(stage: Stage) -> None:
    class Broken(Shop):
        def __init__(self, library: UserLibrary) -> None:
            super().__init__(library)
            raise OSError("no electricity")

    stage.register(shop=Broken)

    assert stage.last(stage.lone("shop")).failed
    assert stage.last(stage.dag("shop")).failed
    assert closed(stage) == []


def test_what_close_takes_away_does_not_change_a_result(stage: Stage) -> None:
    class Basket:
        def run(self) -> list[str]:
            self.content = ["tea"]
            return self.content

        def close(self) -> None:
            self.content.clear()

    assert stage.call(Basket) == ["tea"]


def test_an_instance_in_use_is_closed_only_after_its_run(stage: Stage) -> None:
    """Its DAG is deleted while its code waits for a message."""

    class Waits(Shop):
        def run(self, library: UserLibrary) -> Any:  # type: ignore[override]
            library.recv(timeout=0.01)
            super().run()
            return library.get("shop closed", [])

    stage.register(shop=Waits)

    def pump(_: float) -> bool:
        stage.instances.drop_dag("dag")
        return False

    stage.waits = pump

    assert stage.run(stage.dag("shop")) == []
    assert closed(stage) == [1]
    assert len(stage.instances) == 0


# how close() is called


@pytest.mark.parametrize("name", ["close", "run"])
def test_a_class_without_a_method_of_that_name_is_not_asked(stage: Stage, name: str) -> None:
    class Silent:
        close = None

        def run(self) -> int:
            return 1

    class Proxy(Silent):
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    stage.register(silent=Silent, proxy=Proxy)
    for plan in (stage.lone("silent"), stage.dag("silent"), stage.lone("proxy")):
        assert stage.run(plan) == 1

    stage.instances.close()


def test_a_close_that_takes_no_library_gets_none(stage: Stage) -> None:
    class Plain(Shop):
        def __init__(self, library: UserLibrary) -> None:
            super().__init__(library)
            self.library = library

        def close(self) -> None:  # type: ignore[override]
            super().close(self.library)

    assert stage.call(Plain) == 1
    assert closed(stage) == [1]


def test_the_library_of_a_close_gets_and_puts_but_belongs_to_no_run(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    class Curious(Shop):
        def close(self, library: UserLibrary) -> None:
            library.log("sold %d", self.sold)
            library.delete("shop opened")
            errors = []
            for tries in (
                lambda: library.call("shop"),
                lambda: library.call_dag("dag", {}),
                lambda: library.send(f"run/1/step@{'ipc:///x'}", "hello"),
                lambda: library.recv(timeout=1.0),
                lambda: library.get("nothing", timeout=1.0),
            ):
                try:
                    tries()
                except Exception as error:
                    errors.append(str(error).partition(":")[0])
            library.put("tried", (library.run_id, library.step, errors))

    caplog.set_level(logging.INFO, "cloudburst.user")
    stage.register(shop=Curious)
    stage.run(stage.dag("x", x="shop"))
    stage.instances.close()

    run_id, step, errors = stage.call(lambda library: library.get("tried"))
    assert (run_id, step) == ("", "x")
    assert errors == ["close() belongs to no run"] * 5
    assert stage.call(lambda library: library.get("shop opened")) is None
    assert "[x ] sold 1" in caplog.text


class Trouble(BaseException):
    def __str__(self) -> str:
        raise SystemExit(4)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no change\nleft"), "raised ValueError: no change"),
        (SystemExit(3), "raised SystemExit: 3"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt"),
        (Trouble(), "raised Trouble: <its __str__ raised>"),
        (OSError("x" * 5000), "raised OSError: xxx"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_close_raises_is_logged_and_nothing_else(
    caplog: pytest.LogCaptureFixture, error: BaseException, text: str
) -> None:
    stage = Stage()

    class Breaks(Shop):
        def close(self, library: UserLibrary) -> None:
            super().close(library)
            raise error

    stage.register(breaks=Breaks)
    stage.run(stage.dag("x", name="morning", x="breaks"))
    stage.instances.drop_dag("morning")
    stage.instances.look()
    assert stage.run(stage.lone("breaks")) == 1

    assert closed(stage) == [1, 1]
    first, second = caplog.records
    assert first.getMessage().startswith(f"close() of step 'x' of DAG 'morning' {text}")
    assert second.getMessage().startswith(f"close() of function 'breaks' {text}")
    for record in (first, second):
        assert (record.name, record.levelname) == ("cloudburst.executor.closer", "WARNING")
        assert len(record.getMessage()) < 300
        assert "\n" not in record.getMessage()


def test_a_close_that_cannot_be_called_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Wants(Shop):
        def close(self, library: UserLibrary, money: int) -> None:  # type: ignore[override]
            raise AssertionError

    assert Stage().call(Wants) == 1
    assert "raised TypeError" in caplog.text


# the executor ends


def test_at_the_end_each_gets_its_share_of_the_time_that_is_left() -> None:
    shares: list[float] = []

    def close(_: Instance, patience: float) -> None:
        shares.append(patience)
        if len(shares) == 1:
            time.sleep(patience)  # and no other has less than its share for that

    class Closing:
        def run(self) -> None:
            """Nothing."""

        def close(self) -> None:
            """Nothing."""

    instances, closing = Instances(close, math.inf), Closing()
    for number in range(4):
        instances.add(Instance(closing, closing.run, "v", f"s{number}", "dag"))
    instances.close()

    assert shares[0] == pytest.approx(LAST_MOMENTS / 4, rel=0.1)
    assert shares[1] == pytest.approx(LAST_MOMENTS / 4, rel=0.5)
    assert shares[3] > shares[2] > shares[1]


def test_until_all_are_closed_the_process_is_not_to_end() -> None:
    class Closing:
        def run(self) -> None:
            """Nothing."""

        def close(self) -> None:
            """Nothing."""

    asked: list[bool] = []
    instances = Instances(lambda *_: asked.append(instances.are_to_be_closed), math.inf)
    assert not instances.are_to_be_closed
    for step in ("a", "b"):
        instances.add(Instance(Closing(), len, "v", step, "dag"))
    assert instances.are_to_be_closed

    instances.close()

    assert asked == [True, True]
    assert not instances.are_to_be_closed
    instances.add(Instance([], len, "v", "without", "dag"))
    assert not instances.are_to_be_closed
