"""A function's parameters may be called as they like: every keyword is the function's own."""

from typing import Any

import pytest

from cloudburst import CloudburstConnection

NAMES = [
    *("self", "cls", "args", "kwargs", "name", "function", "library", "_caller", "options"),
    *("timeout", "max_retries", "direct_response", "output_key", "run_id", "step", "key", "value"),
    *("größe", "a b", "class"),
]


class Takes:
    def run(this, **keywords: Any) -> dict[str, Any]:
        return keywords


@pytest.mark.parametrize("name", NAMES)
def test_as_keywords_of_a_call(connection: CloudburstConnection, name: str) -> None:
    takes = connection.register(lambda __, /, **keywords: keywords, "takes")
    of_class = connection.register(Takes, "class")

    for function in (takes, of_class):
        for form in (function, function.options(timeout=10.0)):
            assert form(**{name: 1}).get(10) == {name: 1}
        assert function.options(direct_response=True)(**{name: [2]}) == {name: [2]}


@pytest.mark.parametrize("name", ["self", "args", "name", "timeout", "library", "step"])
def test_as_parameters_of_a_function(connection: CloudburstConnection, name: str) -> None:
    source = f"lambda library_, one, {name}=0: (one, {name})"
    function = connection.register(eval(source), "named")

    assert function(1, **{name: 2}).get(10) == (1, 2)
    assert function(**{"one": 1, name: 2}).get(10) == (1, 2)
    assert function(1, 2).get(10) == (1, 2)


@pytest.mark.parametrize("name", ["self", "args", "name", "timeout", "kwargs", "functions"])
def test_as_steps_and_in_values_of_a_dag(connection: CloudburstConnection, name: str) -> None:
    connection.register(lambda _, value: value, name)
    assert connection.register_dag(name, [name], [])

    assert connection.call_dag(name, {name: {name: 1}}).get(10) == {name: 1}
    assert connection.call_dag(name, {name: [{name: 1}]}, direct_response=True) == {name: 1}
