"""What files need that run kernels under Triton's interpreter: the choice of it, and `poison`.

The interpreter must be chosen before triton is imported anywhere in the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
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


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN: an output that is not written fails."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        make = getattr(owner, name)

        def filled(*args: Any, make: Callable[..., Any] = make, **options: Any) -> Any:
            x = make(*args, **options)
            return x.fill_(float("nan")) if x.is_floating_point() else x

        monkeypatch.setattr(owner, name, filled)


def without(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same inputs, but for those that are absent."""
    return inputs | dict.fromkeys(names)
