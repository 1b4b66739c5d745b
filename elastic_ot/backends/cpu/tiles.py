"""Tiles of a plan between points as explicit vectors, in LLVM IR: some rows times 32 columns, in registers.

A tile is computed from two blocks of points, coordinate by coordinate,

    z_ij = a_i + b_j + scale c_ij,      c_ij = sum_k x_ik y_jk, sum_k (x_ik - y_jk)^2, its root, or sum_k |x_ik - y_jk|,

and what becomes of z differs: 2^z and its row sums (`fill_tile`), the largest of every row (`largest_of_tile`), or z
itself (`entries_of_tile`). Points lie in blocks of `BLOCK_POINTS`, coordinate after coordinate, so that a vector holds
one coordinate of neighbours. 4 rows times 2 vectors of sums, 8 rows where there are 32 registers, stay in registers
over the loop on coordinates, as in a product of matrices; so one loop serves few coordinates and many. Vectors are
those of `vectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import F32, F64, I32, I64, LARGEST_POWER, LEAST_POWER, MAGIC, MANTISSA, Vectors, _as, _number, _polynomial

BLOCK_POINTS = 32
PRODUCT, SQUARES, DISTANCE, ABSOLUTE = 0, 1, 2, 3
"""What c is, in this order."""
PRECISE = {F64: 11, F32: 5}  # degree of the polynomial for 2^r: 2.3e-16 and 1.5e-7 relative
# Column sums and products begin with these numbers, which are taken away in double precision: so sums of tiny entries
# are no denormal numbers, with which processors compute slowly, and become 0.
SEED = {F64: 2.0**-900, F32: 2.0**-100}
PRODUCT_ROWS = 4  # rows whose products with some vectors are summed side by side; strips are a multiple


class _Tile(Vectors):
    """The loops over the rows and columns of a tile."""

    def __init__(self, context: Any, builder: Any, kinds: Any, arguments: Any, number: ir.Type) -> None:
        super().__init__(context, builder, number)
        self.height = 8 if self.wide else 4
        self.arguments = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(kinds, arguments, strict=True)
        ]

    def each(self, use: Callable[[Any, list[Any], list[Any], list[Any]], None]) -> None:
        """Compute a tile; `use` gets a row, the first columns of two vectors, these, and their c."""
        build = self.builder
        _, a, a_first, b, b_first, *_, scale, rows = self.arguments[:12]
        with cgutils.for_range_slice(build, I64(0), rows, I64(self.height), I64) as (i, _):
            with cgutils.for_range_slice(build, I64(0), I64(BLOCK_POINTS), I64(2 * self.lanes), I64) as (j, _):
                sums = self._sums(i, j)
                factor = self.splat(_as(build, scale, self.number))
                columns = [build.add(j, I64(t * self.lanes)) for t in range(2)]
                betas = [self.load(b, build.add(b_first, column)) for column in columns]
                for u in range(self.height):
                    row = build.add(i, I64(u))
                    alpha = self.splat(build.load(build.gep(a, [build.add(a_first, row)])))
                    ends = [build.fadd(alpha, beta) for beta in betas]
                    c = [build.load(place) for place in sums[u]]
                    use(row, columns, [self.fma(factor, x, z) for x, z in zip(c, ends, strict=True)], c)

    def _sums(self, i: Any, j: Any) -> list[list[Any]]:
        """Where the sums c of some rows and columns are, once the loop over coordinates is done."""
        build, kind = self.builder, self.arguments[0]
        sums = [[cgutils.alloca_once(build, self.kind(self.number)) for _ in range(2)] for _ in range(self.height)]
        for row in sums:
            for place in row:
                build.store(self.constant(0.0), place)
        with build.if_else(build.icmp_signed("==", kind, I64(PRODUCT))) as (product, differences):
            with product:
                self._loop(i, j, sums, self.fma)
            with differences, build.if_else(build.icmp_signed("==", kind, I64(ABSOLUTE))) as (absolute, squares):
                with absolute:
                    self._loop(i, j, sums, self._absolute)
                with squares:
                    self._loop(i, j, sums, self._square)
                    with build.if_then(build.icmp_signed("==", kind, I64(DISTANCE))):
                        for row in sums:
                            for place in row:
                                build.store(self._one("sqrt", build.load(place)), place)
        return sums

    def _loop(self, i: Any, j: Any, sums: list[list[Any]], add: Callable[[Any, Any, Any], Any]) -> None:
        build = self.builder
        xs, x_first, ys, y_first, dimension = self.arguments[5:10]
        with cgutils.for_range(build, dimension, intp=I64) as loop:
            place = build.mul(loop.index, I64(BLOCK_POINTS))
            y_place = build.add(build.add(y_first, place), j)
            x_place = build.add(build.add(x_first, place), i)
            y = [self.load(ys, build.add(y_place, I64(t * self.lanes))) for t in range(2)]
            for u, row in enumerate(sums):
                x = self.splat(build.load(build.gep(xs, [build.add(x_place, I64(u))])))
                for t, sum_ in enumerate(row):
                    build.store(add(x, y[t], build.load(sum_)), sum_)

    def _square(self, x: Any, y: Any, total: Any) -> Any:
        difference = self.builder.fsub(x, y)
        return self.fma(difference, difference, total)

    def _absolute(self, x: Any, y: Any, total: Any) -> Any:
        return self.builder.fadd(total, self._one("fabs", self.builder.fsub(x, y)))

    def _one(self, name: str, x: Any) -> Any:
        return self.call(f"llvm.{name}.{self.suffix(self.number)}", x.type, x)

    def exponential(self, z: Any) -> Any:
        """2^z, and 0 where that underflows or z is nan: products with what `power` has there would be denormal numbers.

        Polynomials are Horner's, because enough of them go on at a time, and for float32 no better than float32.
        """
        build, number, degree = self.builder, self.number, PRECISE[self.number]
        if self.wide:
            every, current = ir.Constant(ir.IntType(self.lanes), -1), ir.Constant(I32, 4)
            name, down = ("pd.512" if number == F64 else "ps.512"), ir.Constant(I32, 1)
            r = self.call(f"llvm.x86.avx512.mask.reduce.{name}", z.type, z, down, z, every, current)
            p = self._horner(_polynomial(degree, 0.0, 1.0), r)
            return self.call(f"llvm.x86.avx512.mask.scalef.{name}", z.type, p, z, p, every, current)
        high = self.constant(LARGEST_POWER[number])
        bounded = build.select(build.fcmp_ordered("<", z, high), z, high)
        k = self._one("rint", bounded)
        p = self._horner(_polynomial(degree, -0.5, 0.5), build.fsub(bounded, k))
        bits = ir.VectorType(I64 if number == F64 else I32, self.lanes)
        shift = ir.Constant(bits, [MANTISSA[number]] * self.lanes)
        exponent = build.shl(build.bitcast(build.fadd(k, self.constant(MAGIC[number])), bits), shift)
        e = build.bitcast(build.add(build.bitcast(p, bits), exponent), z.type)
        normal = build.fcmp_ordered(">", z, self.constant(LEAST_POWER[number]))
        return build.select(normal, e, self.constant(0.0))

    def _horner(self, coefficients: list[float], r: Any) -> Any:
        total = self.constant(coefficients[-1])
        for x in coefficients[-2::-1]:
            total = self.fma(total, r, self.constant(x))
        return total

    def larger(self, x: Any, y: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)


@intrinsic
def _fill_tile(
    typingctx: Any,
    kind: Any,
    a: Any,
    a_first: Any,
    b: Any,
    b_first: Any,
    xs: Any,
    x_first: Any,
    ys: Any,
    y_first: Any,
    d: Any,
    scale: Any,
    rows: Any,
    p: Any,
    sums: Any,
    divided: Any,
    weights: Any,
    w_first: Any,
) -> Any:
    """p[rows b_first + 32 i + j] = 2^z_ij, and sums[16 i : 16 i + 16] grow by numbers that add up to those of row i.

    Unless `divided` is None, p has 2^z_ij / c_ij in its place where c is a distance, and 0 where that is 0. Unless
    `weights` is None, sums are those of p_ij weights[w_first + j]. It is the type that tells, so that sweeps are
    compiled without.
    """
    given = kind, a, a_first, b, b_first, xs, x_first, ys, y_first, d, scale, rows
    signature = types.void(*given, p, sums, divided, weights, w_first)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile = _Tile(context, builder, signature.args, arguments, _number(p.dtype))
        rows, out, totals, _, factors, factors_first = tile.arguments[11:17]
        first, distance = builder.mul(rows, tile.arguments[4]), None
        if divided != types.none:
            distance = builder.icmp_signed("==", tile.arguments[0], I64(DISTANCE))

        def kept(power: Any, c: Any) -> Any:
            if distance is None:
                return power
            zero, one = tile.constant(0.0), tile.constant(1.0)
            apart = builder.fcmp_ordered(">", c, zero)
            quotient = builder.fdiv(power, builder.select(apart, c, one))
            return builder.select(distance, builder.select(apart, quotient, zero), power)

        def use(row: Any, columns: list[Any], z: list[Any], c: list[Any]) -> None:
            e, line = [tile.exponential(x) for x in z], builder.add(first, builder.mul(row, I64(BLOCK_POINTS)))
            for column, x, y in zip(columns, e, c, strict=True):
                tile.store(kept(x, y), out, builder.add(line, column))
            place = builder.mul(row, I64(16))
            total = tile.load(totals, place)
            if weights == types.none:
                total = builder.fadd(total, builder.fadd(*e))
            else:
                for column, x in zip(columns, e, strict=True):
                    total = tile.fma(x, tile.load(factors, builder.add(factors_first, column)), total)
            tile.store(total, totals, place)

        tile.each(use)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _largest_of_tile(
    typingctx: Any,
    kind: Any,
    a: Any,
    a_first: Any,
    b: Any,
    b_first: Any,
    xs: Any,
    x_first: Any,
    ys: Any,
    y_first: Any,
    d: Any,
    scale: Any,
    rows: Any,
    tops: Any,
) -> Any:
    """tops[16 i : 16 i + 16] grow until the largest of them is at least every z_ij."""
    signature = types.void(kind, a, a_first, b, b_first, xs, x_first, ys, y_first, d, scale, rows, tops)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile = _Tile(context, builder, signature.args, arguments, _number(tops.dtype))
        out = tile.arguments[12]

        def use(row: Any, columns: list[Any], z: list[Any], c: list[Any]) -> None:
            place = builder.mul(row, I64(16))
            tile.store(tile.larger(tile.load(out, place), tile.larger(*z)), out, place)

        tile.each(use)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _entries_of_tile(
    typingctx: Any,
    kind: Any,
    a: Any,
    a_first: Any,
    b: Any,
    b_first: Any,
    xs: Any,
    x_first: Any,
    ys: Any,
    y_first: Any,
    d: Any,
    scale: Any,
    rows: Any,
    out: Any,
) -> Any:
    """out[32 i + j] = z_ij."""
    signature = types.void(kind, a, a_first, b, b_first, xs, x_first, ys, y_first, d, scale, rows, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile = _Tile(context, builder, signature.args, arguments, _number(out.dtype))
        entries = tile.arguments[12]

        def use(row: Any, columns: list[Any], z: list[Any], c: list[Any]) -> None:
            for column, x in zip(columns, z, strict=True):
                tile.store(x, entries, builder.add(builder.mul(row, I64(BLOCK_POINTS)), column))

        tile.each(use)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _add_columns(typingctx: Any, p: Any, w: Any, rows: Any, partners: Any, out: Any, masses: Any) -> Any:
    """out_j += sum_i w_i p_ij, for the tiles of a strip as `fill` leaves them; `out` is in double precision.

    `partners` says which block of columns each tile belongs to; `masses` grow by the sums over every tile.
    """
    signature = types.void(p, w, rows, partners, out, masses)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile, double = (
            _Tile(context, builder, signature.args, arguments, number) for number in (_number(p.dtype), F64)
        )
        source, factors, height, blocks, totals, tile_sums = tile.arguments
        size = context.make_array(partners)(context, builder, arguments[3]).nitems
        seed = SEED[tile.number]
        sums = [cgutils.alloca_once(builder, tile.kind(tile.number)) for _ in range(BLOCK_POINTS // tile.lanes)]
        with cgutils.for_range(builder, size, intp=I64) as at:
            for total in sums:
                builder.store(tile.constant(seed), total)
            first = builder.mul(builder.mul(height, at.index), I64(BLOCK_POINTS))
            column = builder.mul(_block_at(builder, blocks, at.index), I64(BLOCK_POINTS))
            with cgutils.for_range(builder, height, intp=I64) as loop:
                factor = tile.splat(builder.load(builder.gep(factors, [loop.index])))
                place = builder.add(first, builder.mul(loop.index, I64(BLOCK_POINTS)))
                for t, total in enumerate(sums):
                    part = tile.load(source, builder.add(place, I64(t * tile.lanes)))
                    builder.store(tile.fma(factor, part, builder.load(total)), total)
            mass = double.constant(0.0)
            for t, total in enumerate(sums):
                place = builder.add(column, I64(t * tile.lanes))
                mass = builder.fadd(mass, _add_seeded(double, tile, builder.load(total), totals, place))
            own = builder.gep(tile_sums, [at.index])
            builder.store(builder.fadd(builder.load(own), double.total(mass)), own)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _add_products(typingctx: Any, p: Any, rows: Any, xs: Any, count: Any, partners: Any, out: Any) -> Any:
    """out[16 (count i + q) :][:16] grow by numbers that add up to sum_j p_ij x_jq, for some tiles of a strip.

    `xs` has `count` numbers of every column, in blocks as points are; for `partners` see `add_columns`. Sums over these
    tiles are in the precision of p, and `out` in double precision. Several rows and several q share what is read.
    """
    signature = types.void(p, rows, xs, count, partners, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile, double = (
            _Tile(context, builder, signature.args, arguments, number) for number in (_number(p.dtype), F64)
        )
        source, height, columns, number, partner, totals = tile.arguments
        blocks = context.make_array(partners)(context, builder, arguments[4]).nitems
        seed = SEED[tile.number]
        sums = [[cgutils.alloca_once(builder, tile.kind(tile.number)) for _ in range(PRODUCT_ROWS)] for _ in range(4)]

        def some(i: Any, q: Any, sums: list[list[Any]]) -> None:
            for place in [place for line in sums for place in line]:
                builder.store(tile.constant(seed), place)
            with cgutils.for_range(builder, blocks, intp=I64) as loop:
                line = builder.mul(builder.add(builder.mul(loop.index, height), i), I64(BLOCK_POINTS))
                block = builder.mul(_block_at(builder, partner, loop.index), number)
                first = builder.mul(builder.add(block, q), I64(BLOCK_POINTS))
                with cgutils.for_range_slice(builder, I64(0), I64(BLOCK_POINTS), I64(tile.lanes), I64) as (j, _):
                    line, first = builder.add(line, j), builder.add(first, j)
                    entries = [tile.load(source, builder.add(line, I64(u * BLOCK_POINTS))) for u in range(PRODUCT_ROWS)]
                    for g, places in enumerate(sums):
                        x = tile.load(columns, builder.add(first, I64(g * BLOCK_POINTS)))
                        for entry, place in zip(entries, places, strict=True):
                            builder.store(tile.fma(entry, x, builder.load(place)), place)
            for g, places in enumerate(sums):
                for u, place in enumerate(places):
                    row = builder.mul(builder.add(i, I64(u)), number)
                    where = builder.mul(builder.add(builder.add(row, q), I64(g)), I64(16))
                    _add_seeded(double, tile, builder.load(place), totals, where)

        together = 4 if tile.wide else 2  # sums that stay in registers
        whole = builder.sub(number, builder.srem(number, I64(together)))
        with cgutils.for_range_slice(builder, I64(0), height, I64(PRODUCT_ROWS), I64) as (i, _):
            with cgutils.for_range_slice(builder, I64(0), whole, I64(together), I64) as (q, _):
                some(i, q, sums[:together])
            with cgutils.for_range_slice(builder, whole, number, I64(1), I64) as (q, _):
                some(i, q, sums[:1])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _add_slopes(
    typingctx: Any, kind: Any, p: Any, rows: Any, xs: Any, x_first: Any, ys: Any, d: Any, partners: Any, out: Any
) -> Any:
    """out[16 (d i + k) :][:16] grow by numbers that add up to sum_j p_ij s(x_ik - y_jk), for some tiles of a strip.

    s is the sign where c is a sum of absolute differences, else the number itself; precisions and `partners` as in
    `add_products`.
    """
    signature = types.void(kind, p, rows, xs, x_first, ys, d, partners, out)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile, double = (
            _Tile(context, builder, signature.args, arguments, number) for number in (_number(p.dtype), F64)
        )
        of, source, height, points, points_first, columns, dimension, partner, totals = tile.arguments
        blocks = context.make_array(partners)(context, builder, arguments[7]).nitems
        sums = [cgutils.alloca_once(builder, tile.kind(tile.number)) for _ in range(PRODUCT_ROWS)]

        def differences(entry: Any, difference: Any, total: Any) -> Any:
            return tile.fma(entry, difference, total)

        def signs(entry: Any, difference: Any, total: Any) -> Any:
            zero = tile.constant(0.0)
            below = builder.select(builder.fcmp_ordered("<", difference, zero), builder.fneg(entry), zero)
            return builder.fadd(total, builder.select(builder.fcmp_ordered(">", difference, zero), entry, below))

        def along(i: Any, k: Any, add: Callable[[Any, Any, Any], Any]) -> None:
            row = builder.add(builder.add(points_first, builder.mul(k, I64(BLOCK_POINTS))), i)
            x = [tile.splat(builder.load(builder.gep(points, [builder.add(row, I64(u))]))) for u in range(PRODUCT_ROWS)]
            with cgutils.for_range(builder, blocks, intp=I64) as loop:
                line = builder.mul(builder.add(builder.mul(loop.index, height), i), I64(BLOCK_POINTS))
                block = builder.mul(_block_at(builder, partner, loop.index), dimension)
                first = builder.mul(builder.add(block, k), I64(BLOCK_POINTS))
                with cgutils.for_range_slice(builder, I64(0), I64(BLOCK_POINTS), I64(tile.lanes), I64) as (j, _):
                    y = tile.load(columns, builder.add(first, j))
                    for u, total in enumerate(sums):
                        entry = tile.load(source, builder.add(builder.add(line, j), I64(u * BLOCK_POINTS)))
                        builder.store(add(entry, builder.fsub(x[u], y), builder.load(total)), total)

        with cgutils.for_range_slice(builder, I64(0), height, I64(PRODUCT_ROWS), I64) as (i, _):
            with cgutils.for_range_slice(builder, I64(0), dimension, I64(1), I64) as (k, _):
                for total in sums:
                    builder.store(tile.constant(SEED[tile.number]), total)
                with builder.if_else(builder.icmp_signed("==", of, I64(ABSOLUTE))) as (absolute, others):
                    with absolute:
                        along(i, k, signs)
                    with others:
                        along(i, k, differences)
                for u, total in enumerate(sums):
                    place = builder.add(builder.mul(builder.add(i, I64(u)), dimension), k)
                    _add_seeded(double, tile, builder.load(total), totals, builder.mul(place, I64(16)))
        return context.get_dummy_value()

    return signature, generate


def _add_seeded(double: _Tile, tile: _Tile, found: Any, totals: Any, place: Any) -> Any:
    """Add the lanes of a sum that began with `SEED`, less that, to numbers in double precision; return their sums."""
    builder, whole = tile.builder, double.constant(0.0)
    for half in range(0, tile.lanes, double.lanes):
        part = _part(builder, found, half, double.lanes)
        part = part if tile.number == F64 else builder.fpext(part, double.kind(F64))
        part = builder.fsub(part, double.constant(SEED[tile.number]))
        at = builder.add(place, I64(half))
        double.store(builder.fadd(double.load(totals, at), part), totals, at)
        whole = builder.fadd(whole, part)
    return whole


@intrinsic
def _affine(typingctx: Any, base: Any, first: Any, xs: Any, x_first: Any, slope: Any, shift: Any, out: Any) -> Any:
    """out[i] = base[first + i] + shift + sum_k slope[k] xs[x_first + 32 k + i] for a block.

    In double precision, rounded to what `out` holds.
    """
    signature = types.void(base, first, xs, x_first, slope, shift, out)
    narrow = out.dtype == types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile = _Tile(context, builder, signature.args, arguments, F64)
        bases, start, points, points_first, slopes, constant, result = tile.arguments
        dimension = context.make_array(slope)(context, builder, arguments[4]).nitems
        offset, step = tile.splat(constant), 4 * tile.lanes
        sums = [cgutils.alloca_once(builder, tile.kind(F64)) for _ in range(4)]
        with cgutils.for_range_slice(builder, I64(0), I64(BLOCK_POINTS), I64(step), I64) as (i, _):
            places = [builder.add(i, I64(t * tile.lanes)) for t in range(4)]
            for place, total in zip(places, sums, strict=True):
                builder.store(builder.fadd(tile.load(bases, builder.add(start, place)), offset), total)
            with cgutils.for_range(builder, dimension, intp=I64) as loop:
                factor = tile.splat(builder.load(builder.gep(slopes, [loop.index])))
                row = builder.add(points_first, builder.mul(loop.index, I64(BLOCK_POINTS)))
                for place, total in zip(places, sums, strict=True):
                    x = tile.load(points, builder.add(row, place))
                    builder.store(tile.fma(factor, x, builder.load(total)), total)
            for place, total in zip(places, sums, strict=True):
                found = builder.load(total)
                if narrow:
                    found = builder.fptrunc(found, tile.kind(F32))
                tile.store(found, result, place)
        return context.get_dummy_value()

    return signature, generate


def _block_at(builder: Any, partners: Any, place: Any) -> Any:
    """Return an entry of a list of blocks."""
    return builder.sext(builder.load(builder.gep(partners, [place])), I64)


def _part(builder: Any, x: Any, first: int, count: int) -> Any:
    """Return some lanes of a vector."""
    if x.type.count == count:
        return x
    return builder.shuffle_vector(x, x, ir.Constant(ir.VectorType(I32, count), list(range(first, first + count))))


# to be called from compiled code
fill_tile: Any = _fill_tile
largest_of_tile: Any = _largest_of_tile
entries_of_tile: Any = _entries_of_tile
add_columns: Any = _add_columns
add_products: Any = _add_products
add_slopes: Any = _add_slopes
affine: Any = _affine
