"""Linear resampling of a row, sixteen outputs at a time where the CPU has AVX-512.

LLVM turns `q[j0[c]]` into one load an element. Neighbouring outputs need neighbouring inputs, so that sixteen of them
come from 32 consecutive inputs, which two registers hold and one instruction (vpermt2ps) shuffles: five times faster.
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
WIDEST_STEP = (2 * LANES - 2) / (LANES - 1)  # inputs per output beyond which 16 outputs need more than 32 inputs


@intrinsic
def _lerp16(typingctx: Any, q: Any, start: Any, offset: Any, weight: Any, out: Any, at: Any) -> Any:
    """out[at + l] = q linearly at start + offset[at + l] + weight[at + l], for 16 lanes l; offset is within 0..30."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        floats, ints = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)

        def address(n: int, index: Any, kind: Any) -> Any:
            array = context.make_array(signature.args[n])(context, builder, args[n])
            return builder.bitcast(builder.gep(array.data, [index]), kind.as_pointer())

        first = context.cast(builder, args[1], signature.args[1], types.intp)
        lane = context.cast(builder, args[5], signature.args[5], types.intp)
        low = builder.load(address(0, first, floats), align=4)
        high = builder.load(address(0, builder.add(first, ir.Constant(first.type, LANES)), floats), align=4)
        index = builder.load(address(2, lane, ints), align=4)
        share = builder.load(address(3, lane, floats), align=4)
        shuffle = builder.module.declare_intrinsic(
            "llvm.x86.avx512.vpermi2var.ps.512", fnty=ir.FunctionType(floats, [floats, ints, floats])
        )
        here = builder.call(shuffle, [low, index, high])
        there = builder.call(shuffle, [low, builder.add(index, ir.Constant(ints, [1] * LANES)), high])
        step = builder.fmul(share, builder.fsub(there, here), flags=("contract",))
        builder.store(builder.fadd(here, step, flags=("contract",)), address(4, lane, floats), align=4)
        return context.get_dummy_value()

    return types.void(q, start, offset, weight, out, at), codegen


@numba.njit(cache=True)
def resample(q: Any, index: Any, offset: Any, weight: Any, out: Any, first: int, last: int, narrow: bool) -> None:
    """out[c] = (1 - weight[c]) * q[index[c]] + weight[c] * q[index[c] + 1] for c from `first` to `last`; float32.

    first: a multiple of 16. offset[c] = index[c] - index[16 * (c // 16)]. narrow: the step is at most WIDEST_STEP.
    With AVX-512 up to 15 elements after `last` are written too, and 31 of q after those asked for are read.
    """
    if HAS_AVX512 and narrow:
        for c in range(first, last, LANES):
            _lerp16(q, index[c], offset, weight, out, c)  # type: ignore[call-arg]
    else:
        for c in range(first, last):
            here = q[index[c]]
            out[c] = here + weight[c] * (q[index[c] + 1] - here)
