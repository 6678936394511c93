"""Sequence operators, one a folder: the definition, a torch reference and Triton kernels.

Imports with neither a GPU nor triton. Legend, in this order in every shape:

    B rows   T tokens   H heads of queries   G heads of keys and values (G divides H)
    d width of a head's queries and keys     e width of its values      N chunks of C tokens

Every folder has the same files; what an operator lacks is absent, and its `__init__` says why:

    __init__      the public operator: formula, shapes, errors, source
    definition    the formula as a loop over time in any dtype, and example inputs
    reference     the same in few torch calls: what runs anywhere, and trains
    native        C++ for a CPU in float32 (native.cpp, compiled on first use), and its gradient
    forward, backward   Triton kernels and their launches, imported when a kernel first runs
    bands         what the reference does for heads with a window (attention)
    softplus      what it does for softplus scores (attention)
    chunks        what both kernels do with one chunk of tokens (delta, path)
    plans         tile sizes and launch options; needs no triton
    operator      what the kernels take and give; an operator of torch.library
    decode        one token at a time (path)

The public operator calls `choose`, which picks one implementation:

    auto       triton for CUDA tensors and native for a CPU's, where a kernel takes their shape and
               type, else reference; `served` says which it was, and so does every result
    triton     or a ValueError; on the CPU only under TRITON_INTERPRET=1
    native     or a ValueError: no compiler, another type than float32, inside torch.func or compile
    reference  anywhere
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Served = Literal["triton", "native", "reference"]
Impl = Literal["auto"] | Served

# Arguments of kernels that count tokens, rows or tiles. By default Triton compiles a kernel again
# where such a number is 1 or a multiple of 16. Alignment depends on widths, never on these counts,
# so the kernels opt out: half the compilations, and fewer pauses on rows of many lengths. Attention
# keeps T specialised: masks are cheaper where T is a multiple of 16.
COUNTS = (
    "T", "n_tiles", "n_chunks", "n_pairs", "n_heads", "shared_rows", "slopes_stride",
    "window_stride",
)  # fmt: skip

_served: dict[str, str] = {}


def has_triton() -> bool:
    """Whether the triton package can be imported (not whether a GPU is there)."""
    return importlib.util.find_spec("triton") is not None


def choose(
    operator: str,
    impl: Impl,
    device: torch.device,
    unsupported: str | None = None,
    native: str | None = "there is no native operator",
) -> Served:
    """Which implementation runs; notes it for `served`.

    unsupported, native: why the Triton kernel and the native operator cannot take these inputs, in
    words, or None. Asked for by name, an implementation that cannot raises ValueError. With "auto"
    the reference runs: published models have heads that are wider than a kernel's tile (GPT-2 with
    one head: 720), and nobody can pass impl to a model.
    """
    chosen: Served = "reference"
    if impl == "triton" or (impl == "auto" and device.type == "cuda" and not unsupported):
        _check_triton(operator, device, unsupported)
        chosen = "triton"
    elif impl == "native" or (impl == "auto" and device.type == "cpu" and not native):
        from kernels import _native  # torch is imported late

        why = native or _native.transformed() or _native.reason(operator)
        if why and impl == "native":
            raise ValueError(f"{operator}: {why}; impl = 'reference' runs without it")
        chosen = "reference" if why else "native"
    elif impl not in ("auto", "reference"):
        raise ValueError(f"impl = {impl!r} cannot be used: auto, triton, native or reference")
    _served[operator] = chosen
    return chosen


def native_serves(operator: str, x: torch.Tensor) -> bool:
    """Whether "auto" takes the native operator for what a layer computes of x, if it fits."""
    import torch

    from kernels import _native
    from kernels._inputs import not_float32

    mixed = torch.is_autocast_enabled(x.device.type)
    return not (mixed or not_float32(x) or _native.transformed() or _native.reason(operator))


def _check_triton(operator: str, device: torch.device, unsupported: str | None) -> None:
    from kernels._launch import recording  # torch is imported late

    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" and not interpreted and not recording():
        raise ValueError("impl = 'triton' needs CUDA tensors, or TRITON_INTERPRET=1 on the CPU")
    if not has_triton():
        raise ValueError(f"{operator}: triton is not installed; impl = 'reference' runs without it")
    if unsupported:
        raise ValueError(f"{operator}: {unsupported}; impl = 'reference' takes any shape")


def native_compiler() -> str | None:
    """The C++ compiler that builds native operators, in its own words; None without one."""
    from kernels import _native

    return _native.version()


def native_operators() -> dict[str, str | None]:
    """Every operator with native code, and why this machine cannot build it or None; builds it."""
    from kernels import _native

    return {operator: _native.reason(operator) for operator in _native.operators()}


def served() -> dict[str, str]:
    """Which implementation each operator last ran in this process."""
    return dict(sorted(_served.items()))


def forget_served() -> None:
    """Empty `served`: what runs from here on is of another run."""
    _served.clear()
