"""The compiler is told to stay away where it has been imported, and is not imported for that."""

from __future__ import annotations

import sys

import pytest
import torch

from lab.evaluation.mode import evaluating
from lab.nn.model import make_model
from tests.small import with_train


@pytest.mark.parametrize("imported", [False, True])
def test_the_compiler_is_left_alone_until_something_uses_it(
    imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stances = []

    def spy(stance: str) -> torch.inference_mode:
        stances.append(stance)
        return torch.inference_mode()

    monkeypatch.setattr(torch.compiler, "set_stance", spy)
    if imported:
        monkeypatch.setitem(sys.modules, "torch._dynamo", torch)
    else:
        monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    model = make_model(with_train()).train()
    with evaluating(model, "bf16") as device:
        assert not model.training and torch.is_inference_mode_enabled()
        assert device.type == "cpu" and torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
    assert stances == (["force_eager"] if imported else [])
