"""What the pickle of ``torch.save`` describes, without running or allocating what it says.

The pickle is followed instruction by instruction, as a description: a tensor becomes a
:class:`StoredTensor`, which says where its values lie, and whatever else would be made becomes an
:class:`Other`. Nothing that a pickle names is imported or called, and what it may take is bounded
by its own length and by :data:`INSTRUCTIONS` and :data:`VALUES`.

Sources of the format: ``pickletools`` of Python, and ``torch/_utils.py`` and
``torch/serialization.py`` of PyTorch for the functions by which tensors are rebuilt.
"""

from __future__ import annotations

import pickletools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

INSTRUCTIONS = 500_000
"""A model, its optimizer and an average of it have some 100,000."""
VALUES = 1_000_000
"""Values that a pickle may unfold to; shared ones count wherever they appear."""
DEPTH = 100

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "untyped": 1,
}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
    "UntypedStorage": "untyped",
}
DICTIONARIES = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.dict",
}
UNUSUAL_TENSORS = {
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_qtensor": "quantized",
    "_rebuild_meta_tensor_no_storage": "without values (device meta)",
    "_rebuild_nested_tensor": "nested",
}
# Names that stand for plain data: what they make is of no use here, and no reason to refuse.
HARMLESS = re.compile(
    r"torch\.(Size|device|Tensor|bool|strided|nn\.parameter\.Parameter|per_\w+|[a-z]+\d\w*"
    r"|serialization\._get_layout|_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2"
    r"|(?:cuda\.|storage\.)?\w+Storage)"
    r"|collections\.(OrderedDict|defaultdict|Counter)|_codecs\.encode"
    r"|builtins\.(set|frozenset|bytearray|complex|dict|list|tuple|int|float|bool|str)"
)
OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Unreadable(ValueError):
    """A pickle that is damaged or exceeds a limit; the text says which."""


@dataclass(frozen=True)
class Storage:
    """A record of the archive, as the pickle describes it: ``items`` values of ``dtype``."""

    record: str
    dtype: str
    items: int

    @property
    def nbytes(self) -> int:
        """The length that the record must have."""
        return self.items * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class StoredTensor:
    """A dense tensor: ``offset`` and ``strides`` count values of ``dtype`` in its storage."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Other:
    """Something that was described, not made; ``unusual``: it is a tensor, but of that kind."""

    name: str
    unusual: str = ""


@dataclass(frozen=True)
class Described:
    """What a pickle holds.

    ``foreign``  names of classes and functions that are no plain data, in the order of the file.
    """

    value: Any
    storages: tuple[Storage, ...]
    foreign: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Named:
    """A class or function that the pickle names; it is never imported."""

    name: str


def describe(pickle: bytes) -> Described:
    """Follow ``pickle``; raises :class:`Unreadable`."""
    machine = _Machine()
    try:
        with warnings.catch_warnings():  # pickletools minds the escapes of texts
            warnings.simplefilter("ignore")
            value = machine.run(pickle)
    except Unreadable:
        raise
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise Unreadable(" ".join(f"{type(error).__name__}: {error}".split())[:120]) from error
    _unfolded(value, 0, {})
    return Described(value, tuple(machine.storages), tuple(machine.foreign))


def _unfolded(value: Any, depth: int, known: dict[int, int]) -> int:
    """How many values ``value`` is, shared ones counted wherever they appear.

    Raises :class:`Unreadable` beyond :data:`VALUES` and :data:`DEPTH`, so that whoever walks or
    prints ``value`` later takes bounded time.
    """
    if not isinstance(value, (dict, list, tuple)):
        return 1
    if depth > DEPTH:
        raise Unreadable(f"it is nested deeper than {DEPTH} levels")
    if id(value) not in known:
        inside: Iterable[Any] = value.values() if isinstance(value, dict) else value
        total = 1 + sum(_unfolded(each, depth + 1, known) for each in inside)
        if total > VALUES:
            raise Unreadable(f"it unfolds to more than {VALUES:,} values")
        known[id(value)] = total
    return known[id(value)]


@dataclass
class _Machine:
    """A stack, the marks on it and the memo, as every pickle has them."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[Storage, None] = field(default_factory=dict)
    foreign: dict[str, None] = field(default_factory=dict)

    def run(self, pickle: bytes) -> Any:
        """The value that the pickle ends with."""
        for count, (opcode, argument, position) in enumerate(pickletools.genops(pickle)):
            if count >= INSTRUCTIONS:
                raise Unreadable(f"it has more than {INSTRUCTIONS:,} instructions")
            follow = STEPS.get(opcode.name)
            if follow is None:
                raise Unreadable(f"instruction {opcode.name} at byte {position} is none of torch's")
            follow(self, argument)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Takes what lies above the last mark."""
        at = self.marks.pop()
        taken = self.stack[at:]
        del self.stack[at:]
        return taken

    def top(self, count: int) -> tuple[Any, ...]:
        """Takes the last ``count`` values."""
        if count > len(self.stack):
            raise Unreadable("it takes values that it never made")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken

    def remember(self, at: int | None) -> None:
        self.memo[len(self.memo) if at is None else at] = self.stack[-1]

    def name(self, module: str, name: str) -> None:
        full = f"{OLD_MODULES.get(module, module)}.{name}"
        if not HARMLESS.fullmatch(full):
            self.foreign[full] = None
        self.push(Named(full))

    def fill(self, items: Iterable[Any]) -> None:
        """Append to the list (or set) below."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Other):
            raise Unreadable("it appends to what is no list")

    def set_items(self, items: list[Any]) -> None:
        """Set keys of the dictionary below."""
        into = self.stack[-1]
        if isinstance(into, Other):
            return
        if not isinstance(into, dict) or len(items) % 2:
            raise Unreadable("it sets keys of what is no dictionary")
        into.update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def call(self) -> None:
        """Replace a function and its arguments by what the call stands for."""
        function, arguments = self.top(2)
        name = function.name if isinstance(function, (Named, Other)) else "object"
        self.push(_called(name, arguments if isinstance(arguments, tuple) else ()))

    def storage(self) -> None:
        """A persistent id: the description of a record."""
        (described,) = self.top(1)
        if not isinstance(described, tuple) or len(described) < 5 or described[0] != "storage":
            raise Unreadable("it refers to something else than a tensor's storage")
        kind, record, items = described[1], described[2], described[4]
        dtype = STORAGES.get(kind.name.rpartition(".")[2]) if isinstance(kind, Named) else None
        if dtype is None or not isinstance(record, str) or not _whole(items) or items < 0:
            raise Unreadable("a tensor's storage is not described as torch does")
        found = Storage(record, dtype, items)
        self.storages[found] = None
        self.push(found)


def _pairs(items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dictionary; keys that are neither text nor number are kept apart by identity.

    (A tuple of shared tuples takes for ever to hash.)
    """
    plain = (str, bytes, int, float, type(None))
    return {key if isinstance(key, plain) else Other("key"): value for key, value in items}


def _called(name: str, arguments: tuple[Any, ...]) -> Any:
    """What calling ``name`` would give."""
    function = name.rpartition(".")[2]
    if name in DICTIONARIES:
        return _dictionary(arguments)
    if name == "torch.Size" and arguments and isinstance(arguments[0], (list, tuple)):
        return tuple(arguments[0])
    if name == "_codecs.encode" and len(arguments) == 2 and arguments[1] == "latin1":
        return str(arguments[0]).encode("latin-1")
    if name.startswith("torch._utils."):
        return _rebuilt(function, arguments)
    if name == "torch._tensor._rebuild_from_type_v2" and len(arguments) == 4:
        rebuild, _, inner, _ = arguments
        if isinstance(rebuild, Named) and isinstance(inner, tuple):
            return _rebuilt(rebuild.name.removeprefix("torch._utils."), inner)
    return Other(name)


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    given = arguments[-1] if arguments else ()
    if isinstance(given, dict):
        return dict(given)
    pairs = given if isinstance(given, (list, tuple)) else ()
    return _pairs((pair[0], pair[1]) for pair in pairs)


def _rebuilt(function: str, arguments: tuple[Any, ...]) -> Any:
    """The tensor that a function of ``torch._utils`` would make."""
    if function in UNUSUAL_TENSORS:
        return Other(function, UNUSUAL_TENSORS[function])
    if function in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    if function in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        return _dense(function, arguments)
    return Other(function, "of a kind of its own")


def _dense(function: str, arguments: tuple[Any, ...]) -> StoredTensor | Other:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage):
        return Other(function, "without a storage")
    if not _wholes((offset,)) or not _wholes(shape) or not _wholes(strides):
        raise Unreadable("a tensor's offset, shape or strides are no whole numbers from 0")
    if len(shape) != len(strides):
        raise Unreadable(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    typed = function == "_rebuild_tensor_v3"
    if typed and not isinstance(arguments[6], Named):
        raise Unreadable("a tensor's type is not named")
    dtype = arguments[6].name.rpartition(".")[2] if typed else storage.dtype
    later = arguments[7:8] if typed else arguments[6:7]
    if any(isinstance(flags, dict) and any(flags.values()) for flags in later):
        return Other(function, "conjugated or negated when used")
    return StoredTensor(storage, dtype, offset, tuple(shape), tuple(strides))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wholes(values: Any) -> bool:
    return isinstance(values, tuple) and all(_whole(v) and 0 <= v < 1 << 63 for v in values)


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _argument(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(machine.top(count))


def _forget(machine: _Machine, _: Any) -> None:
    machine.top(1)


def _nothing(_: _Machine, __: Any) -> None:
    """An instruction without a meaning here."""


STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
            *("BINBYTES", "SHORT_BINBYTES"),
        ),
        _argument,
    ),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda machine, _: machine.fill(machine.top(1)),
    "APPENDS": lambda machine, _: machine.fill(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.fill(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.top(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), lambda m, at: m.remember(at)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, at: m.push(m.memo[at])),
    "GLOBAL": lambda machine, names: machine.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*map(str, machine.top(2))),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": _forget,  # attributes: nothing of the model
    "BINPERSID": lambda machine, _: machine.storage(),
}
"""Instruction -> what it does; those that torch never writes are left out."""
