"""The delta rule's kernels that are compiled ahead of time (kernels/_aot.py)."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from kernels.delta import plans
from kernels.delta.backward import carry_kernel, gradient_kernel
from kernels.delta.forward import forward_kernel, prepare_kernel


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time; spill_free is for sm_90."""
    shipped = []
    shapes = ((16, 16), (32, 32), (64, 32), (64, 64), (128, 128))
    for dtype, (d, e) in itertools.product((torch.bfloat16, torch.float32), shapes):
        plan = plans.plan(d, e, dtype)
        constants: dict[str, Any]
        constants = {"DECAY": True, "INITIAL": True, "PREPARED": plan.prepared, "SAVE": True}
        kernels = [
            (prepare_kernel, plans.width(d), 0, 1),
            (forward_kernel, plans.width(d), plan.columns, plan.warps),
            (carry_kernel, plans.width(d), plan.columns, plan.warps),
            (gradient_kernel, plan.tile, plan.tile, plan.tile // 16),
        ]
        for kernel, BK, BV, warps in kernels[0 if plan.prepared else 1 :]:
            options = {**plans.constants(dtype), "UPCAST": False}
            mine = {**constants, "C": plan.C, "BK": BK, "BV": BV, **options}
            mine = {name: x for name, x in mine.items() if name in kernel.arg_names}
            narrow = "*bf16" if dtype == torch.bfloat16 else "*fp32"
            wide = {"S0", "LAST", "DLAST", "DS0", "BETA", "G", "DBETA", "DG"}
            types = {n: "*fp32" if n in wide else narrow for n in set(kernel.arg_names) - set(mine)}
            types |= {n: "i32" for n in ("T", "H", "d", "e") if n in types}
            types |= {"scale": "fp32"} if "scale" in types else {}
            shipped.append(
                {
                    "name": f"delta {kernel.__name__.strip('_')} {narrow[1:]} d={d} e={e}",
                    "kernel": kernel,
                    "signature": types,
                    "divisible": ("d", "e"),
                    "constexprs": mine,
                    "spill_free": dtype == torch.bfloat16 or d <= 32 or kernel is gradient_kernel,
                    "num_warps": warps,
                    "num_stages": 1,
                }
            )
    return shipped
