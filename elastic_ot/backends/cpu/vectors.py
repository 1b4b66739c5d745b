"""The exponentials of a row as explicit vectors, in LLVM IR: the one loop that decides how fast a sweep is.

LLVM vectorises the same loop written in Numba, with twice as many instructions: it knows no instruction that takes the
fraction of a number and none that multiplies by a power of 2, which AVX-512 has, and unrolls until registers spill.
Written out the loop is short, so that it compiles in a tenth of the time.

One source for three kinds of machines: 64 bytes and the instructions above with AVX-512, else 32 bytes, which LLVM cuts
in two where registers have 16. What is generated depends on the target that Numba compiles for, and so does the name
under which Numba's cache keeps it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

F64, F32, I32, I64 = ir.DoubleType(), ir.FloatType(), ir.IntType(32), ir.IntType(64)
DEGREE = {F64: 11, F32: 6}  # of the polynomial for 2^r: 2.3e-16 and 1.2e-7 relative
LEAST_POWER = {F64: -1021.5, F32: -125.5}  # exponents below which the result, without AVX-512, stays what it is
LARGEST_POWER = {F64: 1023.99, F32: 127.99}
# Adding it puts a small integer in the low bits of a number: AVX2 has no conversion of doubles to integers.
MAGIC = {F64: 1.5 * 2.0**52, F32: 1.5 * 2.0**23}
MANTISSA = {F64: 52, F32: 23}


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

    def power(self, z: Any) -> Any:
        """2^z. With AVX-512 0 where that underflows; else from 2^LEAST_POWER to 2^LARGEST_POWER, nan included."""
        build, number = self.builder, self.number
        if self.wide:
            every, current = ir.Constant(ir.IntType(self.lanes), -1), ir.Constant(I32, 4)
            name = "pd.512" if number == F64 else "ps.512"
            down = ir.Constant(I32, 1)
            r = self.call(f"llvm.x86.avx512.mask.reduce.{name}", z.type, z, down, z, every, current)
            p = self.evaluate(_polynomial(DEGREE[number], 0.0, 1.0), r)
            return self.call(f"llvm.x86.avx512.mask.scalef.{name}", z.type, p, z, p, every, current)
        low, high = self.constant(LEAST_POWER[number]), self.constant(LARGEST_POWER[number])
        z = build.select(build.fcmp_ordered(">", z, low), z, low)
        z = build.select(build.fcmp_ordered("<", z, high), z, high)
        k = self.call(f"llvm.floor.{self.suffix(number)}", z.type, build.fadd(z, self.constant(0.5)))
        p = self.evaluate(_polynomial(DEGREE[number], -0.5, 0.5), build.fsub(z, k))
        integer = I64 if number == F64 else I32
        bits = ir.VectorType(integer, self.lanes)
        shift = ir.Constant(bits, [MANTISSA[number]] * self.lanes)
        exponent = build.shl(build.bitcast(build.fadd(k, self.constant(MAGIC[number])), bits), shift)
        return build.bitcast(build.add(build.bitcast(p, bits), exponent), z.type)

    def evaluate(self, coefficients: list[float], r: Any) -> Any:
        """A polynomial by Estrin's order, whose chain of operations is short."""
        terms: list[Any] = [self.constant(x) for x in coefficients]
        while len(terms) > 1:
            pairs = [self.fma(terms[k + 1], r, terms[k]) for k in range(0, len(terms) - 1, 2)]
            terms = pairs + terms[len(terms) & ~1 :]
            r = self.builder.fmul(r, r) if len(terms) > 1 else r
        return terms[0]

    def total(self, x: Any) -> Any:
        """The sum of all lanes, in any order."""
        kind = ir.FunctionType(self.number, [self.number, x.type])
        name = f"llvm.vector.reduce.fadd.{self.suffix(self.number)}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [self.number(0.0), x], fastmath=("reassoc",))


def _number(kind: Any) -> ir.Type:
    return F64 if kind == types.float64 else F32


@intrinsic
def _fill(typingctx: Any, c: Any, inv2: Any, beta2: Any, start: Any, p: Any) -> Any:
    """Fill p_j = 2^(start + beta2_j - c_j inv2), for rows in C order; returns their sum in the precision of p.

    Exponents are formed in double precision unless all of start, inv2 and beta2 are single.
    """
    result = p.dtype
    double = types.float64 in (inv2, start, beta2.dtype, p.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder, _number(result))
        exact = F64 if double else F32
        costs, betas, out = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in ((c, arguments[0]), (beta2, arguments[2]), (p, arguments[4]))
        )
        size = context.make_array(c)(context, builder, arguments[0]).nitems
        scale, shift = (vectors.splat(_as(builder, arguments[k], exact)) for k in (1, 3))
        scale = builder.fneg(scale)

        def exponentials(cost: Any, beta: Any) -> Any:
            base = builder.fadd(vectors.cast(beta, exact), shift)
            return vectors.power(vectors.cast(vectors.fma(vectors.cast(cost, exact), scale, base), vectors.number))

        total = cgutils.alloca_once_value(builder, vectors.constant(0.0))
        lanes = ir.Constant(I64, vectors.lanes)
        rest = builder.srem(size, lanes)
        whole = builder.sub(size, rest)
        with cgutils.for_range_slice(builder, I64(0), whole, lanes, I64) as (j, _):
            e = exponentials(vectors.load(costs, j), vectors.load(betas, j))
            vectors.store(e, out, j)
            builder.store(builder.fadd(builder.load(total), e), total)
        with builder.if_then(builder.icmp_signed(">", rest, I64(0))):
            mask = vectors.first(rest)
            e = exponentials(vectors.load_first(mask, costs, whole), vectors.load_first(mask, betas, whole))
            e = builder.select(mask, e, vectors.constant(0.0))
            vectors.store_first(mask, e, out, whole)
            builder.store(builder.fadd(builder.load(total), e), total)
        return vectors.total(builder.load(total))

    return result(c, inv2, beta2, start, p), generate


fill: Any = _fill  # to be called from compiled code


def _as(builder: Any, x: Any, number: ir.Type) -> Any:
    if x.type == number:
        return x
    return builder.fpext(x, F64) if number == F64 else builder.fptrunc(x, F32)
