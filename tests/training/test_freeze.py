"""Frozen parameters keep their bytes; a pattern that means nothing is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lab.config import TrainConfig
from lab.nn.model import make_model
from lab.results.folder import Folder
from lab.runs.run import run
from lab.training.freeze import freeze
from lab.training.optim import build
from tests.stages import child
from tests.trained import copy_of, small, trained

OPTIMIZERS = ("adamw", "sgd", "signum", "lion", "muon", "adalayer", "soap")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_update_and_no_decay_reach_them(optimizer: str) -> None:
    if optimizer == "soap":
        pytest.importorskip("pytorch_optimizer")
    for patterns in (("embed.*", "blocks.*.mlp.*"), ("*.weight",), ("*norm*", "e*", "head*", "p*")):
        config = TrainConfig(optimizer=optimizer, lr=0.1, weight_decay=0.5, freeze=patterns)  # type: ignore[arg-type]
        model = make_model(small())
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        one = build(model, config)
        for p in model.parameters():
            if p.requires_grad:
                p.grad = torch.ones_like(p)
        for _ in range(2):  # the first one of soap only measures
            one.step()
        changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        frozen = make_model(small())
        freeze(frozen, patterns)
        assert changed == {n for n, p in frozen.named_parameters() if p.requires_grad}
        assert 0 < len(changed) < len(before)


def test_a_child_keeps_its_parents_bytes_there(tmp_path: Path) -> None:
    folder = copy_of(trained(), tmp_path)
    patterns = ("embed.*", "blocks.0.mixer.*")
    one = child(freeze=patterns, weight_decay=0.1, grad_noise=0.1, optimizer_state="kept")
    run(one, tmp_path, "cpu")
    first = load_file(folder.checkpoints / "step-00000060" / "weights.safetensors")
    last = load_file(Folder(tmp_path, one).checkpoints / "step-00000020" / "weights.safetensors")
    same = {name for name in first if torch.equal(first[name], last[name])}
    assert same == {n for n in first if n.startswith(("embed.", "blocks.0.mixer."))}


def test_a_pattern_that_fits_nothing_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    told = r"train.freeze = 'layers\.\*' cannot be used: .* some are embed\.weight, .*head\.weight"
    with pytest.raises(ValueError, match=told):
        run(child(freeze=("layers.*",)), tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"train\.freeze = '\*' cannot .* nothing to train"):
        run(dataclasses.replace(child(freeze=("*",)), parent=None), tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"train\.freeze"):
        run(child(small(freeze=("layers.*",))), tmp_path, "cpu")
    assert not list(tmp_path.iterdir())
