"""Asking for memory ahead: rows that lie apart are no stream that a processor foresees."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np import arrayobj

LINE_BYTES = 64
READ, KEPT_IN_ALL_CACHES, DATA = 0, 3, 1

code: Any = cgutils
arrays: Any = arrayobj


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = signature.args[0]
    values = arrays.make_array(kind)(context, builder, arguments[0])
    indices = [
        context.cast(builder, index, of, types.intp)
        for index, of in zip(arguments[1:], signature.args[1:], strict=True)
    ]
    place = code.get_item_pointer(context, builder, kind, values, indices, wraparound=False)
    word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    function = code.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte, word, word, word]),
        "llvm.prefetch.p0",
    )
    hints = [ir.Constant(word, hint) for hint in (READ, KEPT_IN_ALL_CACHES, DATA)]
    builder.call(function, [builder.bitcast(place, byte), *hints])
    return context.get_dummy_value()


prefetch: Any = intrinsic(lambda _, array, row, column: (types.none(array, row, column), _generate))
"""``prefetch(array, row, column)``: bring the cache line of ``array[row, column]`` near."""

prefetch_item: Any = intrinsic(lambda _, array, index: (types.none(array, index), _generate))
"""``prefetch_item(array, index)``: the same of ``array[index]``, which need not be there."""
