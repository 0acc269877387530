"""Linear resampling of a row, sixteen outputs at a time where the CPU has AVX-512.

LLVM turns `q[j0[c]]` into one load an element. Neighbouring outputs need neighbouring inputs, so that sixteen of them
come from 16 or 32 consecutive inputs, which one or two registers hold and one instruction (vpermps, vpermt2ps)
shuffles: five times faster.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

LANES = 16
# numba compiles for the host unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES say otherwise
_config: Any = numba.config
_CHOSEN = bool(_config.CPU_NAME or _config.CPU_FEATURES)
HAS_AVX512 = "+avx512f" in (_config.CPU_FEATURES or "" if _CHOSEN else binding.get_host_cpu_features().flatten())
# Inputs per output beyond which 16 outputs need more than 16 and 32 inputs.
WIDEST_STEPS = ((LANES - 2) / (LANES - 1), (2 * LANES - 2) / (LANES - 1))


def _lerp16(registers: int) -> Any:
    """lerp(q, start, offset, weight, out, at): out[at + l] = q linearly at start + offset[at + l] + weight[at + l].

    For 16 lanes l; offset is within 0..14 with one register and 0..30 with two.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats, ints = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)

        def address(n: int, index: Any, kind: Any) -> Any:
            array = context.make_array(signature.args[n])(context, builder, args[n])
            return builder.bitcast(builder.gep(array.data, [index]), kind.as_pointer())

        first = context.cast(builder, args[1], signature.args[1], types.intp)
        lane = context.cast(builder, args[5], signature.args[5], types.intp)
        low = builder.load(address(0, first, floats), align=4)
        index = builder.load(address(2, lane, ints), align=4)
        share = builder.load(address(3, lane, floats), align=4)
        after = builder.add(index, ir.Constant(ints, [1] * LANES))
        if registers == 1:
            kind = ir.FunctionType(floats, [floats, ints])
            shuffle = builder.module.declare_intrinsic("llvm.x86.avx512.permvar.sf.512", fnty=kind)
            here, there = builder.call(shuffle, [low, index]), builder.call(shuffle, [low, after])
        else:
            high = builder.load(address(0, builder.add(first, ir.Constant(first.type, LANES)), floats), align=4)
            kind = ir.FunctionType(floats, [floats, ints, floats])
            shuffle = builder.module.declare_intrinsic("llvm.x86.avx512.vpermi2var.ps.512", fnty=kind)
            here, there = builder.call(shuffle, [low, index, high]), builder.call(shuffle, [low, after, high])
        step = builder.fmul(share, builder.fsub(there, here), flags=("contract",))
        builder.store(builder.fadd(here, step, flags=("contract",)), address(4, lane, floats), align=4)
        return context.get_dummy_value()

    def lerp(typingctx: Any, q: Any, start: Any, offset: Any, weight: Any, out: Any, at: Any) -> Any:
        return types.void(q, start, offset, weight, out, at), codegen

    return intrinsic(lerp)


_lerp_one, _lerp_two = _lerp16(1), _lerp16(2)


@numba.njit(cache=True)
def resample(q: Any, index: Any, offset: Any, weight: Any, out: Any, first: int, last: int, registers: int) -> None:
    """out[c] = (1 - weight[c]) * q[index[c]] + weight[c] * q[index[c] + 1] for c from `first` to `last`; float32.

    With AVX-512 up to 15 elements after `last` are written too, and 31 of q after those asked for are read.

    Args:
        q: A row.
        index: int, a place in q for each output.
        offset: offset[c] = index[c] - index[16 * (c // 16)].
        weight: In [0, 1], one an output.
        out: Filled.
        first: A multiple of 16.
        last: Not included.
        registers: How many, of 16 inputs each, hold those of 16 outputs: 1 or 2 (WIDEST_STEPS), or more.
    """
    if HAS_AVX512 and registers == 1:
        for c in range(first, last, LANES):
            _lerp_one(q, index[c], offset, weight, out, c)
    elif HAS_AVX512 and registers == 2:
        for c in range(first, last, LANES):
            _lerp_two(q, index[c], offset, weight, out, c)
    else:
        for c in range(first, last):
            here = q[index[c]]
            out[c] = here + weight[c] * (q[index[c] + 1] - here)


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of array[index], which will be read soon.

    Args:
        typingctx: numba's; a caller leaves it out.
        array: One-dimensional.
        index: Anywhere: an address outside the array is not read.

    Returns:
        numba's intrinsic, which returns nothing when it is called.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        at = builder.gep(data, [context.cast(builder, args[1], signature.args[1], types.intp)])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], fnty=kind)
        builder.call(ask, [builder.bitcast(at, byte), *(ir.Constant(number, n) for n in (0, 3, 1))])  # read, keep, data
        return context.get_dummy_value()

    return types.void(array, index), codegen
