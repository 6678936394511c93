"""Attention's kernels that are compiled ahead of time (kernels/_aot.py)."""

from __future__ import annotations

from typing import Any

from kernels.attention.backward import backward_keys, backward_rows, backward_short
from kernels.attention.forward import forward
from kernels.attention.plans import PRECISION, plan

_OPTIONS = {"plain": (0, False), "gate": (2, False), "all": (2, True)}


_SHIPPED = {
    name: [
        (dtype, width, options)
        for dtype in ("bf16", "fp32")
        for width in (32, 64, 128)
        for options in _OPTIONS
        if not (name == "keys" and options == "gate")
        if not (name == "short" and (dtype == "fp32" or width == 128))
    ]
    for name in ("forward", "rows", "keys", "short")
}


# Spills are accepted where float32 products keep three copies of operands, and for ALiBi, window
# and FoX together, which are rare.
_SPILL = {
    *((name, "fp32", 128, o) for name in ("forward", "rows", "keys") for o in _OPTIONS),
    *(("keys", "fp32", 32, o) for o in _OPTIONS),
    *(("short", "bf16", width, "all") for width in (32, 64)),
    ("short", "bf16", 64, "gate"),
    ("rows", "fp32", 64, "all"),
    ("rows", "bf16", 128, "all"),
}


def configurations() -> list[dict[str, Any]]:
    """Every kernel as it is shipped, for compilation ahead of time."""
    shipped = []
    for kernel, name in (
        (forward, "forward"),
        (backward_rows, "rows"),
        (backward_keys, "keys"),
        (backward_short, "short"),
    ):
        for dtype, width, options in _SHIPPED[name]:
            gate, biases = _OPTIONS[options]
            tile = plan(name, width, 4 if dtype == "fp32" else 2, 128 if name == "short" else 2048)
            constants = {
                "H": 8, "G": 8, "d": width, "e": width, "D": width, "E": width,
                "BM": tile.BM, "BN": tile.BN, "GATE_KIND": gate, "HAS_SLOPES": biases,
                "HAS_WINDOW": biases, "HAS_FORGET": biases, "PACKED": False, "UPCAST": False,
                "PREC": PRECISION, "TILES": None,
            }  # fmt: skip
            if not biases:
                absent = ("SLOPES", "WINDOW", "SUMS", "DCOLS", "DLOG")
                constants |= dict.fromkeys(absent)
            if gate == 0:
                constants |= {"GATE": None, "DGATE": None}
            single = ("LSE", "DELTA", "DCOLS", "DLOG", "SLOPES")
            types = dict.fromkeys(kernel.arg_names, f"*{dtype}")
            types |= dict.fromkeys(single, "*fp32") | {"WINDOW": "*i32", "SUMS": "*fp64"}
            types |= {"scale": "fp32", "T": "i32", "n_tiles": "i32"}
            types |= {"slopes_stride": "i32", "window_stride": "i32"}
            constants = {n: x for n, x in constants.items() if n in kernel.arg_names}
            shipped.append(
                {
                    "name": f"attention {name} {dtype} {width} {options}",
                    "kernel": kernel,
                    "signature": {n: types[n] for n in kernel.arg_names if n not in constants},
                    "constexprs": constants,
                    "num_warps": tile.num_warps,
                    "num_stages": tile.num_stages,
                    "divisible": ("T",),
                    "quick": dtype == "bf16"
                    and width == 64
                    and options == ("all" if name in ("rows", "keys") else "gate"),
                    "spill_free": (name, dtype, width, options) not in _SPILL,
                }
            )
    return shipped
