"""Values, functions and failures to frames and back; the one user of cloudpickle."""

from cloudburst.serialization.diagnosis import NotAValue
from cloudburst.serialization.failures import (
    Failure,
    failure_in,
    pack_cluster_failure,
    pack_failure,
)
from cloudburst.serialization.frames import (
    has_references,
    join,
    join_for_store,
    pieces_for_store,
    size_in_store,
    split,
)
from cloudburst.serialization.functions import (
    FunctionCode,
    LoadedClass,
    LoadedFunction,
    pack_function,
    unpack_function,
)
from cloudburst.serialization.pickling import describe
from cloudburst.serialization.references import (
    CloudburstReference,
    collecting,
    references_in,
    resolve,
)
from cloudburst.serialization.values import Packed, pack, pack_scalar, unpack, unpacker

__all__ = [
    "CloudburstReference",
    "Failure",
    "FunctionCode",
    "LoadedClass",
    "LoadedFunction",
    "NotAValue",
    "Packed",
    "collecting",
    "describe",
    "failure_in",
    "has_references",
    "join",
    "join_for_store",
    "pack",
    "pack_cluster_failure",
    "pack_failure",
    "pack_function",
    "pack_scalar",
    "pieces_for_store",
    "references_in",
    "resolve",
    "size_in_store",
    "split",
    "unpack",
    "unpack_function",
    "unpacker",
]
