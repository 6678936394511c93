"""The scan's kernels that are compiled ahead of time (kernels/_aot.py)."""

from __future__ import annotations

import itertools
from typing import Any

from kernels.scan.backward import backward_kernel
from kernels.scan.forward import forward_kernel
from kernels.scan.plans import BACKWARD, FORWARD, LAUNCH


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time; spill_free is for sm_90."""
    kernels = ((forward_kernel, FORWARD), (backward_kernel, BACKWARD))
    shipped = []
    for dtype, (kernel, blocks) in itertools.product(("bf16", "fp32"), kernels):
        constexprs = {"INITIAL": True, **blocks}
        types = dict.fromkeys(set(kernel.arg_names) - set(constexprs), f"*{dtype}")
        shipped.append(
            {
                "name": f"scan {kernel.__name__.strip('_')} {dtype}",
                "kernel": kernel,
                "signature": types | {"T": "i32", "D": "i32"},
                "divisible": ("D",),
                "constexprs": constexprs,
                "spill_free": True,
                **LAUNCH,
            }
        )
    return shipped
