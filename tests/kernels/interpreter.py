"""What files need that run kernels under Triton's interpreter: the choice of it, and `poison`.

The interpreter must be chosen before triton is imported anywhere in the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

if "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
elif os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("triton was imported without TRITON_INTERPRET=1", allow_module_level=True)

import torch

from kernels import has_triton
from tests.profiles import NIGHTLY

if not has_triton():
    pytest.skip("triton is not installed", allow_module_level=True)

# Blocks are of 16, 32 and 64 tokens: one less, whole, one more, several. The interpreter counts
# tiles, so that long rows cost most; the others run nightly.
LENGTHS = [1, 16, 31, 33, 63, 64, 65, 129]
if NIGHTLY:
    LENGTHS = sorted({*LENGTHS, 2, 15, 17, 32, 62, 100, 128, 257})


BAND = 64  # numbers before and after a tensor that belong to nobody


def banded(x: torch.Tensor) -> torch.Tensor:
    """A copy of x inside memory that holds NaN before and after it."""
    return _between_bands(x, BAND)[0].copy_(x) if x.is_floating_point() else x


def _between_bands(like: torch.Tensor, band: int) -> tuple[torch.Tensor, torch.Tensor]:
    """NaN in the shape and the strides of a dense tensor, and the memory that it lies in."""
    memory = torch.full((like.numel() + 2 * band,), float("nan"), dtype=like.dtype)
    y = torch.tensor([], dtype=like.dtype)
    return y.set_(memory.untyped_storage(), band, like.size(), like.stride()), memory


@contextmanager
def guard_bands(band: int = BAND) -> Iterator[None]:
    """Fresh memory holds NaN, and nothing may be written in the band before or after it."""
    made: list[torch.Tensor] = []

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
            make = getattr(owner, name)

            def filled(*args: Any, make: Callable[..., Any] = make, **options: Any) -> Any:
                x = make(*args, **options)
                if type(x) is not torch.Tensor or x.device.type != "cpu":
                    return x  # a stand-in without memory
                if not x.is_floating_point():
                    return x
                y, memory = _between_bands(x, band)
                made.append(memory)
                return y

            patch.setattr(owner, name, filled)
        yield
    for memory in made:
        bands = torch.cat([memory[:band], memory[len(memory) - band :]])
        assert torch.isnan(bands).all(), "a kernel wrote outside its memory"


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """An output that is not written fails: fresh memory holds NaN."""
    with guard_bands(0):  # opcheck compares the places of tensors in their memory
        yield


def without(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same inputs, but for those that are absent."""
    return inputs | dict.fromkeys(names)
