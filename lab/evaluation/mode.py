"""How a model is evaluated: no gradients, no dropout, nothing compiled."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch

from lab.nn.loss import precision
from lab.nn.model import Model


@contextlib.contextmanager
def evaluating(model: Model, kind: str) -> Iterator[torch.device]:
    """Set up evaluation with activations of this kind, fp32 or bf16; the device of the model.

    Batches of an evaluation have many shapes, so blocks that training has compiled run as they are
    written. Where nothing was compiled the compiler is left alone: its import is slow.
    """
    model.eval()
    device = next(model.parameters()).device
    compiler = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiler else contextlib.nullcontext()
    with torch.inference_mode(), precision(kind, device), eager:
        yield device
