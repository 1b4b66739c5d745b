"""The least of a row and where it is, as explicit vectors in LLVM IR: all that a search of shortest paths does.

From a loop in Numba LLVM makes no vectors: it does not take it for granted that there is no nan, whatever the flags,
and a place beside the least is more than it knows. Of equal numbers a free column is preferred, and then the first, so
that the answer does not depend on how many numbers a register holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import F64, I64, Vectors

NO_NAN = ("nnan", "nsz")
Pair = types.UniTuple(types.float64, 2)


class _Least:
    """The least so far in each lane, of all columns and of free ones, and where it was."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors, self.build = vectors, vectors.builder
        infinity, lanes = vectors.constant(np.inf), range(vectors.lanes)
        first = ir.Constant(vectors.kind(F64), [float(lane) for lane in lanes])
        self.columns, self.least, self.place, self.free, self.free_place = (
            cgutils.alloca_once_value(self.build, x) for x in (first, infinity, first, infinity, first)
        )

    def take(self, x: Any, held: Any) -> None:
        columns = self.build.load(self.columns)
        self._keep(x, columns, self.least, self.place)
        self._keep(self.build.fadd(x, held), columns, self.free, self.free_place)
        step = self.vectors.constant(float(self.vectors.lanes))
        self.build.store(self.build.fadd(columns, step), self.columns)

    def _keep(self, x: Any, columns: Any, least: Any, place: Any) -> None:
        build, old = self.build, self.build.load(least)
        less = build.fcmp_ordered("<", x, old)
        build.store(build.select(less, x, old), least)
        build.store(build.select(less, columns, build.load(place)), place)

    def result(self, context: Any) -> Any:
        """The least, and its place."""
        build, vectors = self.build, self.vectors
        lanes, free_lanes = build.load(self.least), build.load(self.free)
        least = self._reduced(lanes)
        some_free = build.fcmp_ordered("<=", self._reduced(free_lanes), least)
        values = build.select(some_free, free_lanes, lanes)
        places = build.select(some_free, build.load(self.free_place), build.load(self.place))
        here = build.fcmp_ordered("==", values, vectors.splat(least))
        place = self._reduced(build.select(here, places, vectors.constant(np.inf)))
        return context.make_tuple(build, Pair, [least, place])

    def _reduced(self, x: Any) -> Any:
        kind = ir.FunctionType(F64, [x.type])
        name = f"llvm.vector.reduce.fmin.{self.vectors.suffix(F64)}"
        function = cgutils.get_or_insert_function(self.build.module, kind, name)
        return self.build.call(function, [x], fastmath=NO_NAN)


def _each(context: Any, builder: Any, arrays: list[tuple[Any, Any]], visit: Any) -> None:
    """visit(load, store) for every vector of the arrays, all as long as the first; the last one may be shorter."""
    vectors = Vectors(context, builder, F64)
    bases = [context.make_array(kind)(context, builder, value).data for kind, value in arrays]
    size = context.make_array(arrays[0][0])(context, builder, arrays[0][1]).nitems
    lanes = ir.Constant(I64, vectors.lanes)
    rest = builder.srem(size, lanes)
    whole = builder.sub(size, rest)
    with cgutils.for_range_slice(builder, I64(0), whole, lanes, I64) as (j, _):
        visit(lambda k: vectors.load(bases[k], j), lambda x, k: vectors.store(x, bases[k], j), lambda x: x)
    with builder.if_then(builder.icmp_signed(">", rest, I64(0))):
        mask, infinity = vectors.first(rest), vectors.constant(np.inf)
        visit(
            lambda k: vectors.load_first(mask, bases[k], whole),
            lambda x, k: vectors.store_first(mask, x, bases[k], whole),
            lambda x: builder.select(mask, x, infinity),
        )


@intrinsic
def _cheapest(typingctx: Any, c: Any, v: Any, held: Any) -> Any:
    """The least of c_j - v_j and its place, that of a column with held_j = 0 before others, which have infinity."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        least = _Least(Vectors(context, builder, F64))

        def visit(load: Any, store: Any, within: Any) -> None:
            least.take(within(builder.fsub(load(0), load(1))), load(2))

        _each(context, builder, list(zip(signature.args, arguments, strict=True)), visit)
        return least.result(context)

    return Pair(c, v, held), generate


@intrinsic
def _relax(typingctx: Any, c: Any, v: Any, held: Any, distance: Any, ahead: Any, h: Any, row: Any) -> Any:
    """Lower distance_j to c_j - v_j + h, where that is less, with ahead_j = row; its least and place as `cheapest`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder, F64)
        least, offset, name = _Least(vectors), vectors.splat(arguments[5]), vectors.splat(arguments[6])

        def visit(load: Any, store: Any, within: Any) -> None:
            x, old = builder.fadd(builder.fsub(load(0), load(1)), offset), load(3)
            shorter = builder.fcmp_ordered("<", x, old)
            x = builder.select(shorter, x, old)
            store(x, 3)
            store(builder.select(shorter, name, load(4)), 4)
            least.take(within(x), load(2))

        _each(context, builder, list(zip(signature.args[:5], arguments[:5], strict=True)), visit)
        return least.result(context)

    return Pair(c, v, held, distance, ahead, types.float64, types.float64), generate


cheapest: Any = _cheapest  # to be called from compiled code
relax: Any = _relax
