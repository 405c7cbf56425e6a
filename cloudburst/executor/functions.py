"""User code, loaded once and called in the way its signature asks for."""

from __future__ import annotations

from cloudburst.core.plan import PlanStep
from cloudburst.errors import CloudburstError, KeyNotFound
from cloudburst.executor.calling import Called, ClassRun, fits
from cloudburst.executor.instances import Instance, Instances
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, KeyValueStore
from cloudburst.serialization import LoadedClass, LoadedFunction, unpack_function


class NotLoaded(Exception):
    """A function's code cannot be had; ``error`` says why."""

    def __init__(self, error: CloudburstError) -> None:
        super().__init__(error)
        self.error = error


class Functions:
    """The functions of one executor, and the making of instances of its classes.

    Args:
        store: where code is fetched from, once per version.
        instances: those that outlive a run, and those that are to be closed after it.
    """

    def __init__(self, store: KeyValueStore, instances: Instances) -> None:
        self.instances = instances
        self._store = store
        self._plain: dict[str, Called] = {}
        self._classes: dict[str, LoadedClass] = {}

    def callable_for(self, dag: str, step: PlanStep, library: UserLibrary) -> Called:
        """What to call for a step, as ``f(library, *arguments)``.

        For a class it is an instance's ``run``: a new instance for a lone call, the one that
        this executor keeps for the step within a DAG.

        Raises:
            NotLoaded: the code is not in the KVS, or cannot be loaded here.
            Exception: the class's own ``__init__`` raised.
        """
        plain = self._plain.get(step.version)
        if plain is not None:
            return plain
        loaded = self._classes.get(step.version) or self._load(step)
        if isinstance(loaded, LoadedFunction):
            return loaded.callable
        instance = self.instances.use(dag, step.name, step.version) if dag else None
        if instance is None:
            instance = _instantiate(dag, step, loaded, library)
            self.instances.add(instance)
        return instance.run

    def _load(self, step: PlanStep) -> LoadedFunction | LoadedClass:
        try:
            (blob,) = self._store.execute([Get(keys.code_key(step.version))])
            if blob is None:
                raise KeyNotFound(
                    f"the code of function {step.function!r} is not in the KVS any more; "
                    "register the function again"
                )
            loaded = unpack_function(blob)
        except CloudburstError as error:
            raise NotLoaded(error) from error
        if isinstance(loaded, LoadedFunction):
            self._plain[step.version] = loaded.callable
        else:
            self._classes[step.version] = loaded
        return loaded


def _instantiate(dag: str, step: PlanStep, loaded: LoadedClass, library: UserLibrary) -> Instance:
    if fits(loaded.cls, library, *loaded.init):
        value = loaded.cls(library, *loaded.init)
    else:
        value = loaded.cls(*loaded.init)
    return Instance(value, ClassRun(value.run), step.version, step.name, dag)
