"""PaTH's kernels that are compiled ahead of time (kernels/_aot.py)."""

from __future__ import annotations

from typing import Any

from kernels.path import plans
from kernels.path.backward import backward_chunks, backward_inside, backward_sweep
from kernels.path.backward_short import backward_short
from kernels.path.chunks import prepare
from kernels.path.forward import forward

_OPTIONS = {"plain": (0, False), "gate": (2, False), "all": (2, True)}


_SHAPES = [
    (dtype, width, T)
    for dtype in ("bf16", "fp32")
    for width, T in ((32, 64), (32, 128), (32, 2048), (64, 2048), (128, 2048))
    if not (dtype == "fp32" and width == 128)
]


_QUICK = (("bf16", 32, 128), ("bf16", 64, 2048))


_SPILL_FREE = {
    "path prepare bf16 32 T 2048 plain",
    "path forward bf16 32 T 64 plain",
    "path forward bf16 32 T 64 all",
    "path forward bf16 32 T 128 plain",
    "path forward bf16 32 T 128 all",
    "path forward bf16 32 T 2048 plain",
    "path forward bf16 32 T 2048 all",
    "path forward bf16 64 T 2048 plain",
    "path forward bf16 128 T 2048 plain",
}


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time."""
    shipped = []
    for kernel in (
        prepare, forward, backward_short, backward_sweep, backward_inside, backward_chunks
    ):  # fmt: skip
        for dtype, width, T in _SHAPES:
            for options, (gate, forget) in _OPTIONS.items():
                # `prepare` runs for both: with "plain" as the forward needs it, with "all" as the
                # backward does.
                backward = kernel is not forward and (kernel is not prepare or options == "all")
                tile_plan = plans.plan(backward, width, width, 4 if dtype == "fp32" else 2, T)
                if not _shipped(kernel, tile_plan, options):
                    continue
                name = f"path {kernel.__name__} {dtype} {width} T {T} {options}"
                tile = kernel in (forward, backward_short, backward_sweep)
                itemsize = 4 if dtype == "fp32" else 2
                shipped.append(
                    _configuration(kernel, dtype, width, tile_plan, gate, forget)
                    | {
                        "name": name,
                        "num_warps": tile_plan.num_warps
                        if tile
                        else plans.chunk_warps(kernel.__name__, itemsize, tile_plan.C, width),
                        "num_stages": tile_plan.num_stages if kernel is forward else 1,
                        "quick": (dtype, width, T) in _QUICK
                        and (options == "all" or kernel is backward_chunks),
                        "spill_free": name in _SPILL_FREE,
                    }
                )
    return shipped


def _shipped(kernel: Any, plan: plans.Plan, options: str) -> bool:
    if kernel is prepare:
        return not plan.fused and options != "gate"
    if kernel is backward_chunks:
        return not plan.fused and options == "plain"
    if kernel is backward_inside:
        return not plan.fused and options != "gate"
    if kernel is backward_short:
        return plan.fused and options != "plain"
    if kernel is backward_sweep:
        return not plan.fused and options != "plain"
    return options != "gate"


def _configuration(
    kernel: Any, dtype: str, width: int, plan: plans.Plan, gate: int, forget: bool
) -> dict[str, Any]:
    constants: dict[str, Any] = {
        "H": 8, "G": 8, "d": width, "e": width, "D": width, "E": width, "BT": plan.BT,
        "C": plan.C, "SHARES": 1, "GATE_KIND": gate, "HAS_FORGET": forget, "PACKED": False,
        "FUSED": plan.fused, "UPCAST": False, "PREC": "tf32x3" if dtype == "fp32" else "tf32",
        "TILES": None,
    }  # fmt: skip
    if gate == 0:
        constants |= {"GATE": None, "DGATE": None}
    if kernel is prepare and not forget:
        constants["AS"] = None
    if not forget:
        constants |= dict.fromkeys(("SUMS", "DCOLS", "COLUMNS", "DLOG"))
    if plan.fused and kernel is forward:
        constants |= dict.fromkeys(("XS", "US", "KH", "ZS"))
    single = (
        "BETA",
        "LSE",
        "DELTA",
        "DBETA",
        "AS",
        "DQH",
        "DKH",
        "DVH",
        "DZ",
        "DCOLS",
        "COLUMNS",
        "DLOG",
    )
    types = dict.fromkeys(kernel.arg_names, f"*{dtype}")
    types |= dict.fromkeys((*single, "DKI", "DWI", "DX", "DU"), "*fp32") | {"SUMS": "*fp64"}
    types |= dict.fromkeys(("T", "n_tiles", "n_chunks", "n_rows", "n_heads"), "i32")
    types["scale"] = "fp32"
    constants = {n: x for n, x in constants.items() if n in kernel.arg_names}
    return {
        "kernel": kernel,
        "signature": {n: types[n] for n in kernel.arg_names if n not in constants},
        "constexprs": constants,
    }
