"""The loops that decide how fast a sweep is, as explicit vectors in LLVM IR.

Contents
    fill, fill_plan, fill_double    the exponentials of a row
    products, collect               four rows of a matrix times a vector; the four, weighted, added to the columns
    products_ahead, collect_ahead   the same for a matrix in memory, each asking for two of the four rows that come next
    divide_lanes                    a half step of many problems side by side

LLVM vectorises the same loops written in Numba, with twice as many instructions: it knows no instruction that takes the
fraction of a number and none that multiplies by a power of 2, which AVX-512 has, and unrolls until registers spill.
Where one number is selected or another precision is written it may give up and take three times as long.

Exponentials are computed for four vectors in turn. Each is a chain of 20 operations that wait for each other, 70 cycles
for 12 of work, and a processor looks no more than some 100 operations ahead: one vector at a time leaves it half idle.

Four rows are read twice, the second time from the caches, while memory would have nothing to do. So either reading asks
for two of the next four rows: without that a sweep over a large matrix takes 1.3 to 1.8 times as long.

One source for three kinds of machines: 64 bytes and the instructions above with AVX-512, else 32 bytes, which LLVM cuts
in two where registers have 16. What is generated depends on the target that Numba compiles for, and so does the name
under which Numba's cache keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

F64, F32, I32, I64 = ir.DoubleType(), ir.FloatType(), ir.IntType(32), ir.IntType(64)
# Of the polynomial for 2^r: 2e-16 and 2e-9 relative, before rounding. Degree 5 would do for one entry (8e-8), but its
# error does not average out in sums, and solves would have to go on in double precision.
DEGREE = {F64: 11, F32: 6}
LEAST_POWER = {F64: -1021.5, F32: -125.5}  # exponents below which the result, without AVX-512, stays what it is
LARGEST_POWER = {F64: 1023.99, F32: 127.99}
# Adding it puts a small integer in the low bits of a number: AVX2 has no conversion of doubles to integers.
MAGIC = {F64: 1.5 * 2.0**52, F32: 1.5 * 2.0**23}
MANTISSA = {F64: 52, F32: 23}
LEAST_KEPT = {F64: -1021.0, F32: -125.0}  # exponents of a plan's entries below which they are 0
TOGETHER = 4  # vectors of exponentials in turn: a chain of 20 dependent operations keeps a processor waiting
ROWS, PAIR = 4, 2  # rows that share the vectors of the columns; vectors of columns in turn


def _polynomial(degree: int, low: float, high: float) -> list[float]:
    """Coefficients of the interpolation of 2^r at the Chebyshev nodes of [low, high], the constant first."""
    nodes = np.cos((2 * np.arange(degree + 1) + 1) * np.pi / (2 * degree + 2))
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * nodes
    return [float(x) for x in np.linalg.solve(np.vander(nodes, increasing=True), 2.0**nodes)]


class Vectors:
    """Instructions on vectors of one kind of number, as many as a register of the target holds."""

    def __init__(self, context: Any, builder: Any, number: ir.Type) -> None:
        self.builder, self.number = builder, number
        features = context.codegen().magic_tuple()[2].split(",")
        self.wide = {"+avx512f", "+avx512dq"} <= set(features)
        self.lanes = (64 if self.wide else 32) // (8 if number == F64 else 4)

    def kind(self, number: ir.Type) -> ir.VectorType:
        return ir.VectorType(number, self.lanes)

    def constant(self, x: float, number: ir.Type | None = None) -> Any:
        return ir.Constant(self.kind(number or self.number), [x] * self.lanes)

    def splat(self, x: Any) -> Any:
        none = ir.Constant(self.kind(x.type), ir.Undefined)
        first = self.builder.insert_element(none, x, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, none, ir.Constant(self.kind(I32), [0] * self.lanes))

    def call(self, name: str, result: ir.Type, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [x.type for x in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def suffix(self, number: ir.Type) -> str:
        return f"v{self.lanes}f{64 if number == F64 else 32}"

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        return self.call(f"llvm.fma.{self.suffix(x.type.element)}", x.type, x, y, z)

    def pointer(self, base: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.kind(base.type.pointee).as_pointer())

    def load(self, base: Any, offset: Any) -> Any:
        found = self.builder.load(self.pointer(base, offset))
        found.align = 8 if base.type.pointee == F64 else 4
        return found

    def store(self, x: Any, base: Any, offset: Any) -> None:
        self.builder.store(x, self.pointer(base, offset)).align = 8 if base.type.pointee == F64 else 4

    def prefetch(self, base: Any, offset: Any) -> None:
        """Ask for a line that is read soon; what lies beyond the end of memory is left alone."""
        bytes_ = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [bytes_, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        place = self.builder.bitcast(self.builder.gep(base, [offset]), bytes_)
        self.builder.call(function, [place, I32(0), I32(2), I32(1)])

    def per_line(self, number: ir.Type) -> int:
        """Vectors of such numbers in a line of 64 bytes."""
        return max(1, 64 // (self.lanes * (8 if number == F64 else 4)))

    def first(self, count: Any) -> Any:
        """A mask of the first `count` lanes."""
        lanes = ir.Constant(self.kind(I64), list(range(self.lanes)))
        return self.builder.icmp_signed("<", lanes, self.splat(count))

    def load_first(self, mask: Any, base: Any, offset: Any) -> Any:
        """The lanes in the mask, 0 in the others, whose memory is not read."""
        number, pointer = base.type.pointee, self.pointer(base, offset)
        align = ir.Constant(I32, 8 if number == F64 else 4)
        name = f"llvm.masked.load.{self.suffix(number)}.p0"
        return self.call(name, self.kind(number), pointer, align, mask, self.constant(0.0, number))

    def store_first(self, mask: Any, x: Any, base: Any, offset: Any) -> None:
        align = ir.Constant(I32, 8 if base.type.pointee == F64 else 4)
        name = f"llvm.masked.store.{self.suffix(base.type.pointee)}.p0"
        self.call(name, ir.VoidType(), x, self.pointer(base, offset), align, mask)

    def cast(self, x: Any, number: ir.Type) -> Any:
        if x.type.element == number:
            return x
        return (self.builder.fpext if number == F64 else self.builder.fptrunc)(x, self.kind(number))

    def powers(self, exponents: list[Any]) -> list[Any]:
        """2^z of a few vectors, instruction by instruction in turn.

        With AVX-512 0 where that underflows; else from 2^LEAST_POWER to 2^LARGEST_POWER, nan included.
        """
        build, number = self.builder, self.number
        if self.wide:
            every, current = ir.Constant(ir.IntType(self.lanes), -1), ir.Constant(I32, 4)
            name, down = "pd.512" if number == F64 else "ps.512", ir.Constant(I32, 1)
            reduce, scale = (f"llvm.x86.avx512.mask.{what}.{name}" for what in ("reduce", "scalef"))
            rests = [self.call(reduce, z.type, z, down, z, every, current) for z in exponents]
            found = self.evaluate(_polynomial(DEGREE[number], 0.0, 1.0), rests)
            pairs = zip(found, exponents, strict=True)
            return [self.call(scale, z.type, p, z, p, every, current) for p, z in pairs]
        low, high = self.constant(LEAST_POWER[number]), self.constant(LARGEST_POWER[number])
        exponents = [build.select(build.fcmp_ordered(">", z, low), z, low) for z in exponents]
        exponents = [build.select(build.fcmp_ordered("<", z, high), z, high) for z in exponents]
        magic = self.constant(MAGIC[number])
        wholes = [self.call(f"llvm.rint.{self.suffix(number)}", z.type, z) for z in exponents]
        rests = [build.fsub(z, k) for z, k in zip(exponents, wholes, strict=True)]
        found = self.evaluate(_polynomial(DEGREE[number], -0.5, 0.5), rests)
        bits = ir.VectorType(I64 if number == F64 else I32, self.lanes)
        places = ir.Constant(bits, [MANTISSA[number]] * self.lanes)
        powers = []
        for p, k in zip(found, wholes, strict=True):
            exponent = build.shl(build.bitcast(build.fadd(k, magic), bits), places)
            powers.append(build.bitcast(build.add(build.bitcast(p, bits), exponent), p.type))
        return powers

    def kept(self, z: Any, power: Any) -> Any:
        """2^z, or 0 where it underflows: below the least number that the other targets know."""
        least = self.constant(LEAST_KEPT[self.number])
        return self.builder.select(self.builder.fcmp_ordered(">", z, least), power, self.constant(0.0))

    def evaluate(self, coefficients: list[float], places: list[Any]) -> list[Any]:
        """A polynomial by Horner's rule at a few places in turn, whose chains of operations overlap."""
        *others, top = (self.constant(x) for x in coefficients)
        found = [top] * len(places)
        for constant in reversed(others):
            found = [self.fma(p, r, constant) for p, r in zip(found, places, strict=True)]
        return found

    def total(self, x: Any) -> Any:
        """The sum of all lanes, in any order."""
        kind = ir.FunctionType(self.number, [self.number, x.type])
        name = f"llvm.vector.reduce.fadd.{self.suffix(self.number)}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [self.number(0.0), x], fastmath=("reassoc",))


Place = Any
"""An offset into arrays, as a value of LLVM's."""
Group = Callable[[list[Place]], None]
End = Callable[[Any, Place], None]


def _along(vectors: Vectors, first: Place, size: Any, together: int, whole: Group, end: End) -> None:
    """Code for entries `first` to `size`: so many vectors together, then one by one, then what is left, masked."""
    builder = vectors.builder
    for count in (together, 1) if together > 1 else (1,):
        step = I64(count * vectors.lanes)
        stop = builder.sub(size, builder.srem(builder.sub(size, first), step))
        with cgutils.for_range_slice(builder, first, stop, step, I64) as (j, _):
            whole([builder.add(j, I64(k * vectors.lanes)) for k in range(count)])
        first = stop
    with builder.if_then(builder.icmp_signed("<", first, size)):
        end(vectors.first(builder.sub(size, first)), first)


def _number(kind: Any) -> ir.Type:
    return F64 if kind == types.float64 else F32


def _array(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value)


def _add(vectors: Vectors, x: Any, total: Any) -> None:
    vectors.builder.store(vectors.builder.fadd(vectors.builder.load(total), x), total)


# --- exponentials -----------------------------------------------------------------------------------------------------


def _filling(number_of: Callable[[Any], ir.Type], zeros: bool) -> Any:
    """Make `fill`, or what fills rows of a plan: exact `zeros` where they underflow; computed in number_of(dtype)."""

    @intrinsic
    def filled(typingctx: Any, c: Any, inv2: Any, beta2: Any, start: Any, p: Any) -> Any:
        number = number_of(p.dtype)
        exact = F64 if number == F64 or types.float64 in (inv2, start, beta2.dtype) else F32

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vectors = Vectors(context, builder, number)
            costs, betas, out = (
                _array(context, builder, kind, arguments[k]).data for kind, k in ((c, 0), (beta2, 2), (p, 4))
            )
            size = _array(context, builder, c, arguments[0]).nitems
            scale, shift = (vectors.splat(_as(builder, arguments[k], exact)) for k in (1, 3))
            scale = builder.fneg(scale)
            total = cgutils.alloca_once_value(builder, vectors.constant(0.0))

            def powers(pairs: list[tuple[Any, Any]]) -> list[Any]:
                bases = [builder.fadd(vectors.cast(beta, exact), shift) for _, beta in pairs]
                costs = [vectors.cast(cost, exact) for cost, _ in pairs]
                exponents = [vectors.fma(x, scale, base) for x, base in zip(costs, bases, strict=True)]
                exponents = [vectors.cast(z, number) for z in exponents]
                found = vectors.powers(exponents)
                return [vectors.kept(z, e) for z, e in zip(exponents, found, strict=True)] if zeros else found

            def whole(places: list[Place]) -> None:
                found = powers([(vectors.load(costs, j), vectors.load(betas, j)) for j in places])
                for j, e in zip(places, found, strict=True):
                    vectors.store(vectors.cast(e, out.type.pointee), out, j)
                    _add(vectors, e, total)

            def end(mask: Any, j: Place) -> None:
                (e,) = powers([(vectors.load_first(mask, costs, j), vectors.load_first(mask, betas, j))])
                e = builder.select(mask, e, vectors.constant(0.0))
                vectors.store_first(mask, vectors.cast(e, out.type.pointee), out, j)
                _add(vectors, e, total)

            _along(vectors, I64(0), size, TOGETHER, whole, end)
            return vectors.total(builder.load(total))

        return (types.float64 if number == F64 else types.float32)(c, inv2, beta2, start, p), generate

    return filled


# To be called from compiled code, for rows in C order. Exponents are formed in double precision unless all of start,
# inv2 and beta2 are single.
fill: Any = _filling(_number, zeros=False)
"""fill(c, inv2, beta2, start, p): p_j = 2^(start + beta2_j - c_j inv2); returns their sum in the precision of p."""
fill_plan: Any = _filling(_number, zeros=True)
"""The same, with exact zeros where an entry underflows: below 2^-1021, or 2^-125 in single precision."""
fill_double: Any = _filling(lambda dtype: F64, zeros=True)
"""The same, computed and summed in double precision whatever p holds."""


# --- four rows against the columns ------------------------------------------------------------------------------------


def _rows(builder: Any, array: Any, i: Any, last: Any) -> list[Any]:
    """Pointers to rows i to i + 3 of a matrix in C order, the last row in place of those beyond it."""
    width = cgutils.unpack_tuple(builder, array.shape)[1]
    found = []
    for q in range(ROWS):
        row = builder.add(i, I64(q))
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        found.append(builder.gep(array.data, [builder.mul(row, width)]))
    return found


def _ask_ahead(vectors: Vectors, array: Any, rows: list[Any], places: list[Place]) -> None:
    """Ask for these columns of the rows four further down."""
    if len(places) > 1:
        builder = vectors.builder
        beyond = builder.mul(cgutils.unpack_tuple(builder, array.shape)[1], I64(ROWS))
        for line in places[:: vectors.per_line(rows[0].type.pointee)]:
            for row in rows:
                vectors.prefetch(row, builder.add(line, beyond))


def _multiplying(ahead: bool) -> Any:
    """Make `products`, or `products_ahead`, which asks for rows that come next, as `collect_ahead` does."""

    @intrinsic
    def multiplied(typingctx: Any, kernel: Any, i: Any, last: Any, lo: Any, hi: Any, v: Any, s: Any) -> Any:
        """Add sum_j kernel[min(i + q, last), j] v[j], j from lo to hi, to s[q], q = 0 to 3; in the precision of v."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vectors = Vectors(context, builder, _number(v.dtype))
            first_row, last_row, first, size = (_index(builder, arguments[k]) for k in (1, 2, 3, 4))
            matrix = _array(context, builder, kernel, arguments[0])
            rows = _rows(builder, matrix, first_row, last_row)
            scalings, sums = (_array(context, builder, x, arguments[k]).data for x, k in ((v, 5), (s, 6)))
            number = vectors.number
            totals = [[cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in rows] for _ in range(PAIR)]

            def accumulate(x: Any, entries: list[Any], totals: list[Any]) -> None:
                for entry, total in zip(entries, totals, strict=True):
                    builder.store(vectors.fma(vectors.cast(entry, number), x, builder.load(total)), total)

            def whole(places: list[Place]) -> None:
                if ahead:
                    _ask_ahead(vectors, matrix, rows[: ROWS // 2], places)
                for j, part in zip(places, totals, strict=False):
                    accumulate(vectors.load(scalings, j), [vectors.load(row, j) for row in rows], part)

            def end(mask: Any, j: Place) -> None:
                entries = [vectors.load_first(mask, row, j) for row in rows]
                accumulate(vectors.load_first(mask, scalings, j), entries, totals[0])

            _along(vectors, first, size, PAIR, whole, end)
            for q, (one, other) in enumerate(zip(*totals, strict=True)):
                total = vectors.total(builder.fadd(builder.load(one), builder.load(other)))
                place = builder.gep(sums, [I64(q)])
                builder.store(builder.fadd(builder.load(place), _as(builder, total, sums.type.pointee)), place)
            return context.get_dummy_value()

        return types.void(kernel, i, last, lo, hi, v, s), generate

    return multiplied


def _collecting(ahead: bool) -> Any:
    """Make `collect`, or `collect_ahead`, which asks for the rows that come next: for matrices that lie in memory."""

    @intrinsic
    def collected(typingctx: Any, kernel: Any, i: Any, last: Any, w0: Any, w1: Any, w2: Any, w3: Any, acc: Any) -> Any:
        """Add sum_q w_q kernel[min(i + q, last), j], q = 0 to 3, to acc[j]; the four terms in the precision of w_q."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vectors = Vectors(context, builder, _number(w0))
            first_row, last_row = (_index(builder, arguments[k]) for k in (1, 2))
            matrix = _array(context, builder, kernel, arguments[0])
            rows = _rows(builder, matrix, first_row, last_row)
            columns, number = _array(context, builder, acc, arguments[7]), vectors.number
            sums, size, factors = columns.data, columns.nitems, [vectors.splat(w) for w in arguments[3:7]]

            def added(entries: list[Any], before: Any) -> Any:
                x, *others = (vectors.cast(entry, number) for entry in entries)
                total = builder.fmul(x, factors[0])
                for x, factor in zip(others, factors[1:], strict=True):
                    total = vectors.fma(x, factor, total)
                return builder.fadd(before, vectors.cast(total, sums.type.pointee))

            def whole(places: list[Place]) -> None:
                if ahead:
                    _ask_ahead(vectors, matrix, rows[ROWS // 2 :], places)
                for j in places:
                    vectors.store(added([vectors.load(row, j) for row in rows], vectors.load(sums, j)), sums, j)

            def end(mask: Any, j: Place) -> None:
                found = added([vectors.load_first(mask, row, j) for row in rows], vectors.load_first(mask, sums, j))
                vectors.store_first(mask, found, sums, j)

            _along(vectors, I64(0), size, PAIR, whole, end)
            return context.get_dummy_value()

        return types.void(kernel, i, last, w0, w1, w2, w3, acc), generate

    return collected


products, products_ahead = _multiplying(False), _multiplying(True)
collect, collect_ahead = _collecting(False), _collecting(True)


# --- problems side by side --------------------------------------------------------------------------------------------


@intrinsic
def _divide_lanes(
    typingctx: Any, kernel: Any, across: Any, along: Any, weight: Any, x: Any, limit: Any, out: Any, sums: Any
) -> Any:
    """A half step by division, entry by entry for every lane; true if a scaling left (1 / limit, limit).

    sums[i] = sum_q kernel[i across + q along] x[q], and out[i] = weight[i] / sums[i], 0 where nothing is asked for.
    Rows of all arrays are lanes, a multiple of two vectors, and numbers have one precision.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder, _number(kernel.dtype))
        arrays = {k: _array(context, builder, signature.args[k], arguments[k]) for k in (0, 3, 4, 6, 7)}
        matrix, weights, scalings, result, totals = (arrays[k].data for k in (0, 3, 4, 6, 7))
        size, lanes = cgutils.unpack_tuple(builder, arrays[6].shape)
        count = cgutils.unpack_tuple(builder, arrays[4].shape)[0]
        most = _as(builder, arguments[5], vectors.number)
        high, low = vectors.splat(most), vectors.splat(builder.fdiv(vectors.number(1.0), most))
        zero = vectors.constant(0.0)
        mask = ir.VectorType(ir.IntType(1), vectors.lanes)
        outside = cgutils.alloca_once_value(builder, ir.Constant(mask, [0] * vectors.lanes))
        parts = [cgutils.alloca_once(builder, zero.type) for _ in range(PAIR)]

        def scaled(row: Any, z: Any, part: Any) -> None:
            place = builder.add(builder.mul(row, lanes), z)
            total, asked = builder.load(part), vectors.load(weights, place)
            used = builder.fcmp_ordered(">", asked, zero)
            found = builder.select(used, builder.fdiv(asked, total), zero)
            inside = builder.and_(builder.fcmp_ordered(">", found, low), builder.fcmp_ordered("<", found, high))
            beyond = builder.and_(used, builder.not_(inside))
            builder.store(builder.or_(builder.load(outside), beyond), outside)
            vectors.store(found, result, place)
            vectors.store(total, totals, place)

        with cgutils.for_range_slice(builder, I64(0), lanes, I64(PAIR * vectors.lanes), I64) as (z, _):
            places = [builder.add(z, I64(k * vectors.lanes)) for k in range(PAIR)]
            with cgutils.for_range(builder, size) as i:
                for part in parts:
                    builder.store(zero, part)
                with cgutils.for_range(builder, count) as q:
                    row = builder.add(builder.mul(i.index, arguments[1]), builder.mul(q.index, arguments[2]))
                    row, other = builder.mul(row, lanes), builder.mul(q.index, lanes)
                    for place, part in zip(places, parts, strict=True):
                        entry = vectors.load(matrix, builder.add(row, place))
                        scaling = vectors.load(scalings, builder.add(other, place))
                        builder.store(vectors.fma(entry, scaling, builder.load(part)), part)
                for place, part in zip(places, parts, strict=True):
                    scaled(i.index, place, part)
        bits = builder.bitcast(builder.load(outside), ir.IntType(vectors.lanes))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(kernel, across, along, weight, x, limit, out, sums), generate


divide_lanes: Any = _divide_lanes


def _index(builder: Any, x: Any) -> Any:
    return x if x.type == I64 else builder.sext(x, I64)


def _as(builder: Any, x: Any, number: ir.Type) -> Any:
    if x.type == number:
        return x
    return builder.fpext(x, F64) if number == F64 else builder.fptrunc(x, F32)
