"""Registered functions, called like the functions themselves."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cloudburst.client.function import CallOptions, CloudburstFunction
from cloudburst.core.options import RunOptions
from cloudburst.errors import SerializationError, UsageError
from cloudburst.serialization import pack_function

Made = tuple[str, tuple[Any, ...], dict[str, Any], CallOptions]


class Notebook:
    """A caller that writes down what is called, and returns how many calls there were."""

    def __init__(self) -> None:
        self.calls: list[Made] = []

    def call_function(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> int:
        self.calls.append((name, args, kwargs, options))
        return len(self.calls)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def test_a_call_is_passed_on_with_its_arguments(notebook: Notebook) -> None:
    function = CloudburstFunction(notebook, "incr")

    assert function(1, [2], key="word") == 1
    assert function() == 2
    assert notebook.calls == [
        ("incr", (1, [2]), {"key": "word"}, CallOptions()),
        ("incr", (), {}, CallOptions()),
    ]


def test_any_keyword_is_the_functions(notebook: Notebook) -> None:
    CloudburstFunction(notebook, "f")(name="n", options="o", timeout=3, direct_response=True)

    assert notebook.calls[0][2] == {
        "name": "n",
        "options": "o",
        "timeout": 3,
        "direct_response": True,
    }


def test_it_knows_its_name(notebook: Notebook) -> None:
    function = CloudburstFunction(notebook, "incr")

    assert function.name == function.get_name() == "incr"
    assert repr(function) == "<CloudburstFunction 'incr'>"


def test_options_make_another_function_of_the_same_name(notebook: Notebook) -> None:
    plain = CloudburstFunction(notebook, "incr")
    direct = plain.options(direct_response=True)
    both = direct.options(timeout=2.5)
    for function in (plain, direct, both):
        function(1)

    assert [options for *_, options in notebook.calls] == [
        CallOptions(),
        CallOptions(direct_response=True),
        CallOptions(direct_response=True, run=RunOptions(timeout=2.5)),
    ]
    assert both.name == "incr"


def test_options_that_are_not_named_stay_as_they_are(notebook: Notebook) -> None:
    changed = CloudburstFunction(notebook, "f").options(
        direct_response=True, timeout=1, max_retries=2, grace_period=3.5, result_ttl=4
    )
    changed.options()()
    changed.options(direct_response=False, timeout=None)()
    changed.options(timeout=0, max_retries=0)()

    said = RunOptions(timeout=1.0, max_retries=2, grace_period=3.5, result_ttl=4.0)
    assert [options for *_, options in notebook.calls] == [
        CallOptions(direct_response=True, run=said),
        CallOptions(direct_response=False, run=said),
        CallOptions(direct_response=True, run=said._replace(timeout=0.0, max_retries=0)),
    ]


def test_options_are_given_by_name_and_nothing_else_is_taken(notebook: Notebook) -> None:
    function = CloudburstFunction(notebook, "f")

    with pytest.raises(TypeError):
        function.options(True)  # type: ignore[call-arg]  # noqa: FBT003
    with pytest.raises(UsageError, match=r"no option retries; there are .*max_retries"):
        function.options(retries=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        function.retries = 3  # type: ignore[attr-defined]


def test_a_function_is_not_a_value(notebook: Notebook) -> None:
    function = CloudburstFunction(notebook, "f")

    with pytest.raises(TypeError, match="a registered function cannot be pickled"):
        pickle.dumps(function)
    with pytest.raises(SerializationError, match=r"g' -> closure 'function' is a registered"):
        pack_function(lambda _: function(1), "g")
