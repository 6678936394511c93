"""The linear layer: y = x W^T + b, of every token.

torch multiplies float32 by its BLAS library. oneDNN, which torch also carries, needs less time for
products too large for the processor's caches, so the native operator is oneDNN's product and its
gradient. It has no C++ of its own, but like the others it runs only where a compiler is: without
one, every operator is its reference. There is no Triton kernel: torch's own serves a GPU. The
reference is torch's `linear`, so there is no file `reference`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import Impl, choose
from kernels._inputs import not_float32
from kernels.projection.definition import definition, example_inputs
from kernels.projection.native import native

__all__ = ["LEAST", "definition", "example_inputs", "projection"]

LEAST = 2**27  # tokens x K x N from which "auto" takes oneDNN


def projection(x: Tensor, W: Tensor, b: Tensor | None = None, *, impl: Impl = "auto") -> Tensor:
    """x [...,K], W [N,K], b [N] or None -> y [...,N] of the type of x.

    ValueError where impl is "native" or "triton" and cannot be.
    """
    why = _unsupported(x, W, b)
    if impl == "auto" and not why and x.numel() * len(W) < LEAST:
        why = "the product is small"
    if choose("projection", impl, x.device, "there is no Triton kernel", why) == "native":
        return native(x, W, b)
    return F.linear(x, W, b)


def _unsupported(*tensors: Tensor | None) -> str | None:
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if not torch.backends.mkldnn.is_available():
        return "torch has no oneDNN"
    return not_float32(*tensors)
