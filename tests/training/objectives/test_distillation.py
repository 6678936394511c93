"""Distillation of attention: its loss as a loop over heads and rows, what it trains and refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.config import Experiment
from lab.nn.inputs import Inputs
from lab.nn.model import Model, make_model
from lab.training.objectives.distillation import Distillation, check_learning
from tests.stages import child, distilled, undropped
from tests.trained import small

CPU = torch.device("cpu")


def pair(e: Experiment) -> tuple[Model, Model]:
    """Parent and child in float64 with random weights that are far from uniform attention."""
    assert e.parent is not None
    models = [make_model(one).double() for one in (e.parent.experiment, e)]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for model in models:
            for p in model.parameters():
                p.normal_(0, 0.5, generator=generator)
    models[0].requires_grad_(False)
    return models[0], models[1]


def rows(ends: tuple[int, ...]) -> Inputs:
    """Rows of 7 tokens, each supervised at its last two tokens alone, up to one of `ends`."""
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (len(ends), 7)))
    supervised = torch.zeros(len(ends), 6, dtype=torch.bool)
    for row, end in enumerate(ends):
        supervised[row, end - 2 : end] = True
    return Inputs(tokens, supervised, None)


def definition(e: Experiment, teacher: Model, model: Model, inputs: Inputs) -> tuple[Tensor, float]:
    """Loss and divergence, one head, row and query after the other. Both layers of attention."""
    x = teacher.embed(inputs.tokens[:, :-1]) + teacher.place.weight[:6]  # type: ignore[union-attr]
    H, d = e.model.heads, e.model.width // e.model.heads
    n, losses, divergences = len(x), [], []
    theirs: Any
    block: Any
    for theirs, block in zip(teacher.blocks, model.blocks, strict=True):
        read = theirs.norm1(x)
        a, b = ((read @ m.mixer.qkv.weight.T).unflatten(-1, (3, H, d)) for m in (theirs, block))
        W = block.mixer.maps
        for row in range(n):
            other = (row - 1) % n if e.train.targets == "shuffled" else row
            last = int(inputs.supervised[row].nonzero().max())
            for h in range(H):
                for i in range(last + 1):
                    q = a[other, i, 0, h]
                    score = [float(q @ a[other, j, 1, h]) / math.sqrt(d) for j in range(i + 1)]
                    exp = [math.exp(s) for s in score]
                    target = [one / sum(exp) for one in exp]

                    def phi(w: Tensor, z: Tensor) -> Tensor:
                        return torch.cat([(w @ z).softmax(0), (-(w @ z)).softmax(0)])

                    query = phi(W[0, h], b[row, i, 0, h])
                    near = [query @ phi(W[1, h], b[row, j, 1, h]) for j in range(i + 1)]
                    cross = [-t * (s / sum(near)).log() for t, s in zip(target, near, strict=True)]
                    losses.append(torch.stack(cross).sum())
                    entropy = -sum(t * math.log(t) for t in target)
                    divergences.append(losses[-1].item() - entropy)
        x = theirs(x)
    return torch.stack(losses).mean(), sum(divergences) / len(divergences)


@pytest.mark.parametrize("settings", [{}, {"targets": "shuffled"}, {"batch": 4, "grad_accum": 2}])
def test_is_its_definition(settings: dict[str, Any]) -> None:
    """Loss, divergence and gradients; rows of several lengths; parts of a batch add up."""
    e = distilled(undropped(layers="attention*2"), **settings)
    teacher, model = pair(e)
    inputs = rows((6, 3, 5, 6))
    told = Distillation(teacher)(e, model, inputs, 0, CPU)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss, divergence = definition(e, teacher, model, inputs)
    loss.backward()
    assert told.loss == pytest.approx(loss.item(), abs=1e-9)
    assert told.more == {"divergence": pytest.approx(divergence, abs=1e-9)} and divergence > 0.1
    assert set(gradients) == {
        f"blocks.{i}.mixer.{n}" for i in (0, 1) for n in ("qkv.weight", "maps")
    }
    for name, p in model.named_parameters():
        if name in gradients:
            assert torch.allclose(gradients[name], p.grad, atol=1e-9), name  # type: ignore[arg-type]


def test_rows_that_are_right_are_the_childs() -> None:
    """As a whole: with its own attention in all layers."""
    e = distilled()
    teacher, model = pair(e)
    inputs = rows((6,) * 64)
    told = Distillation(teacher)(e, model, inputs, 0, CPU)
    wrong = model(inputs.tokens[:, :-1]).argmax(-1) != inputs.tokens[:, 1:]
    assert told.right == int((~(wrong & inputs.supervised).any(1)).sum())
    assert 0 < told.right < 64


def test_an_equal_child_has_no_divergence() -> None:
    """Weights that do not depend on queries are uniform in both."""
    e = distilled()
    teacher, model = pair(e)
    with torch.no_grad():
        teacher.blocks[0].mixer.qkv.weight.zero_()  # type: ignore[union-attr, operator]
        model.blocks[0].mixer.qkv.weight.zero_()  # type: ignore[union-attr, operator]
    told = Distillation(teacher)(e, model, rows((6, 4)), 0, CPU)
    assert told.more["divergence"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("of", "model", "train", "told"),
    [
        ({}, {"layers": "attention"}, {}, "model.layers = 'attention' cannot be used: with"),
        ({}, {"layers": "hedgehog*2"}, {}, "the layers of the parent, attention, with hedgehog"),
        ({}, {"layers": "lstm"}, {}, "model.layers = 'lstm' cannot"),
        ({"layers": "attention,lstm"}, {"layers": "attention,hedgehog"}, {}, "model.layers"),
        ({"layers": "attention*2", "gate": "headwise"}, {"layers": "attention,hedgehog"}, {},
         "model.gate = headwise gives its attention weights that the child lacks"),
        ({"layers": "attention*2", "position": "path"}, {"layers": "attention,hedgehog"}, {},
         "with model.position = path its attention is no softmax"),
        ({"layers": "attention*2", "score": "softplus"}, {"layers": "attention,hedgehog"}, {},
         "with model.score = softplus its attention is no softmax"),
        ({}, {"dropout": 0.1}, {}, "model.dropout = 0.1 cannot"),
        ({}, {"width": 32}, {}, "its model differs: width = 16 there and 32 here"),
        ({}, {}, {"optimizer_state": "kept"}, "train.optimizer_state = 'kept' cannot"),
        ({}, {}, {"targets": "shuffled", "batch": 1}, "train.targets = 'shuffled' cannot"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(
    of: dict[str, Any], model: dict[str, Any], train: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        distilled(undropped(**of), model, **train)


def test_without_a_parent_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="without a parent there is no attention to learn from"):
        small(objective="distillation")
    with pytest.raises(ValueError, match="only objective = distillation uses it"):
        child(targets="shuffled")


@pytest.mark.parametrize("pattern", ["*.mixer.*", "*.maps,*.qkv.*"])
def test_layers_that_are_frozen_cannot_learn(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"train\.freeze = .* attention of layer 0"):
        check_learning(distilled(freeze=tuple(pattern.split(","))))
    check_learning(distilled(freeze=("*.qkv.*",)))


def test_a_mixer_of_the_users_needs_weights_of_attention(tmp_path: Path) -> None:
    source = "from lab.mixers.hedgehog import Hedgehog\n\n\nclass Mine(Hedgehog):\n"
    (good := tmp_path / "good.py").write_text(source + "    pass\n")
    (bad := tmp_path / "bad.py").write_text(source + "    attention_weights = property()\n")
    check_learning(distilled(model={"layers": str(good)}))
    with pytest.raises(ValueError, match=r"bad\.py has no method attention_weights"):
        check_learning(distilled(model={"layers": str(bad)}))


def test_a_parents_model_follows_but_keeps_its_layers() -> None:
    from lab.config.parent import with_model

    e = distilled()
    wide = with_model(e, replace(e.model, width=32, feature_map="relu"))
    assert wide.parent is not None and wide.model.layers == "hedgehog"
    assert wide.parent.experiment.model == replace(undropped().model, width=32)
