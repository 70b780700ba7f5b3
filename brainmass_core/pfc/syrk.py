"""Half of a symmetric product: BLAS ``ssyrk``, called from compiled code.

numba's ``np.dot`` only uses ``gemm``, which computes both triangles of ``x.T @ x``. This is the
routine that SciPy exports for Cython; its address is an argument, so that compiled code can be
cached.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import get_cython_function_address, intrinsic

SSYRK: int = get_cython_function_address("scipy.linalg.cython_blas", "ssyrk")


def _upper_product(_context: Any, address: Any, x: Any, out: Any) -> Any:
    """Write the upper triangle of ``x.T @ x``, without changing the rest.

    Parameters
    ----------
    address : int
        `SSYRK`.
    x : ndarray (n_timepoints, n_rois) of float32, C order
    out : ndarray (n_rois, n_rois) of float32, C order
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, byte, number = ir.IntType(8).as_pointer(), ir.IntType(8), ir.FloatType()

        def at(value: Any) -> Any:
            """Pass an argument by reference, as Fortran requires."""
            return builder.bitcast(cgutils.alloca_once_value(builder, value), data)

        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[1:], arguments[1:], strict=True)
        ]
        source, target = (builder.bitcast(array.data, data) for array in arrays)
        shape = cgutils.unpack_tuple(builder, arrays[0].shape)
        k, n = (at(builder.trunc(length, ir.IntType(32))) for length in shape)
        one, zero = at(ir.Constant(number, 1.0)), at(ir.Constant(number, 0.0))
        # in Fortran order x is (n_rois, n_timepoints), and our upper triangle is its lower one
        lower, plain = at(ir.Constant(byte, ord("L"))), at(ir.Constant(byte, ord("N")))
        kind = ir.FunctionType(ir.VoidType(), [data] * 10).as_pointer()
        syrk = builder.inttoptr(arguments[0], kind)
        builder.call(syrk, [lower, plain, n, k, one, source, n, zero, target, n])
        return context.get_dummy_value()

    for array in (x, out):
        if not (array.ndim == 2 and array.layout == "C" and array.dtype == types.float32):
            raise TypingError(f"found {array}, expected a matrix of float32 in C order")
    return types.void(types.intp, x, out), generate


upper_product: Any = intrinsic(_upper_product)
