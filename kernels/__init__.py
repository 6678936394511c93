"""Sequence operators, one a folder: the definition, a torch reference and Triton kernels.

Imports with neither a GPU nor triton. Legend, in this order in every shape:

    B rows   T tokens   H heads of queries   G heads of keys and values (G divides H)
    d width of a head's queries and keys     e width of its values      N chunks of C tokens

Every folder has the same files; what an operator lacks is absent, and its `__init__` says why:

    __init__      the public operator: formula, shapes, errors, source
    definition    the formula as a loop over time in any dtype, and example inputs
    reference     the same in few torch calls: what a CPU runs and trains with
    forward, backward   Triton kernels and their launches, imported when a kernel first runs
    chunks        what both kernels do with one chunk of tokens (delta, path)
    plans         tile sizes and launch options; needs no triton
    operator      registration with torch.library: shapes, gradient, vmap
    shipped       the configurations that are compiled ahead of time
    decode        one token at a time (path)

The public operator calls `choose`, which picks one implementation:

    auto       triton for CUDA tensors whose shape and type a kernel takes, else reference;
               `served` says which it was, and so does the environment in every result
    triton     or a ValueError; on the CPU only under TRITON_INTERPRET=1
    reference  anywhere
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Impl = Literal["auto", "triton", "reference"]

# Arguments of kernels that count tokens, rows or tiles. By default Triton compiles a kernel again
# where such a number is 1 or a multiple of 16. Alignment depends on widths, never on these counts,
# so the kernels opt out: half the compilations, and fewer pauses on rows of many lengths. Attention
# keeps T specialised: masks are cheaper where T is a multiple of 16.
COUNTS = (
    "T", "n_tiles", "n_chunks", "n_rows", "n_heads", "shared_rows", "slopes_stride", "window_stride"
)  # fmt: skip

_served: dict[str, str] = {}


def has_triton() -> bool:
    """Whether the triton package can be imported (not whether a GPU is there)."""
    return importlib.util.find_spec("triton") is not None


def choose(operator: str, impl: Impl, device: torch.device, unsupported: str | None = None) -> bool:
    """True: run the Triton kernel; False: the reference. Notes the choice for `served`.

    unsupported: why the kernel cannot take these inputs, in words, or None. With impl = "triton"
    that raises ValueError. With "auto" the reference runs: published models have heads that are
    wider than a kernel's tile (GPT-2 with one head: 720), and nobody can pass impl to a model.
    """
    if impl not in ("auto", "triton", "reference"):
        raise ValueError(f"impl = {impl!r} cannot be used: auto, triton or reference")
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if impl == "triton" and device.type != "cuda" and not interpreted:
        raise ValueError("impl = 'triton' needs CUDA tensors, or TRITON_INTERPRET=1 on the CPU")
    triton = impl == "triton" or (impl == "auto" and device.type == "cuda" and not unsupported)
    if triton and not has_triton():
        raise ValueError(f"{operator}: triton is not installed; impl = 'reference' runs without it")
    if triton and unsupported:
        raise ValueError(f"{operator}: {unsupported}; impl = 'reference' takes any shape")
    _served[operator] = "triton" if triton else "reference"
    return triton


def served() -> dict[str, str]:
    """Which implementation each operator last ran in this process."""
    return dict(sorted(_served.items()))


def forget_served() -> None:
    """Empty `served`: what runs from here on is of another run."""
    _served.clear()
