"""The selective scan's kernels that are compiled ahead of time (kernels/_aot.py)."""

from __future__ import annotations

import itertools
from typing import Any

from kernels.selective_scan.backward import backward_kernel
from kernels.selective_scan.forward import forward_kernel
from kernels.selective_scan.plans import options, tile


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time; spill_free is for sm_90."""
    shipped = []
    kernels = ((forward_kernel, False), (backward_kernel, True))
    for dtype, N, (kernel, back) in itertools.product(("bf16", "fp32"), (16, 64), kernels):
        constexprs = {"HAS_SKIP": True, "INITIAL": True, **tile(N)}
        constexprs = {name: x for name, x in constexprs.items() if name in kernel.arg_names}
        narrow = {"U", "DELTA", "B", "C", "Y", "DY", "DU", "DDT"}
        types = {
            name: f"*{dtype}" if name in narrow else "*fp32"
            for name in kernel.arg_names
            if name not in constexprs
        }
        types |= dict.fromkeys(("T", "D", "N", "shared_rows"), "i32")
        shipped.append(
            {
                "name": f"selective_scan {kernel.__name__.strip('_')} {dtype} N={N}",
                "kernel": kernel,
                "signature": types,
                "divisible": ("D", "N"),
                "constexprs": constexprs,
                "spill_free": True,
                **options(N, back),
            }
        )
    return shipped
