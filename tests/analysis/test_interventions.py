"""Heads switched off and weights between checkpoints, against models whose heads are known."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lab.analysis import interventions, subject
from lab.config import ModelConfig
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import Model
from tasks.parity import Parity
from tests.subjects import made


def test_all_heads_off_is_no_attention_also_when_decoding() -> None:
    s = made(Parity(k=3), 8, ModelConfig(position="path", bias=True, gate="headwise"))
    without = copy.deepcopy(s.model)
    for block in without.blocks:
        torch.nn.init.zeros_(block.mixer.out.weight)
    tokens = torch.from_numpy(np.ascontiguousarray(s.batch.tokens))
    every = [(layer, head) for layer in range(2) for head in range(2)]
    before = s.model(tokens)
    with interventions.heads_off(s.model, every):
        torch.testing.assert_close(s.model(tokens), without(tokens))
        _, state = s.model.prefill(tokens[:, :-1])
        last, _ = s.model.step(tokens[:, -1], state)
        torch.testing.assert_close(last, without(tokens)[:, -1])
    torch.testing.assert_close(s.model(tokens), before)
    assert not torch.allclose(before, without(tokens))
    with (
        pytest.raises(ValueError, match="attention layer"),
        interventions.heads_off(s.model, [(0, 2)]),
    ):
        pass


def loss_of(folder: Path, weights: dict[str, torch.Tensor]) -> float:
    s = subject.open_run(folder, rows=32)
    s.model.load_state_dict(weights)
    inputs = to_torch(s.task, s.model.config, s.batch, torch.device("cpu"))
    return teacher_forced(s.model, inputs)[0].item()


def test_the_segment_between_two_checkpoints(trained: list[Path]) -> None:
    ends = [
        load_file(trained[0] / "checkpoint" / f"step-{step:08d}" / "weights.safetensors")
        for step in (30, 60)
    ]
    start, end = (subject.open_run(trained[0], rows=32, at=at) for at in ("step-30", None))
    assert end.at == "step-60"
    found = interventions.interpolate(start, end, points=5)
    assert found.ends == ("step-30", "step-60")
    assert found.shares == (0, 0.25, 0.5, 0.75, 1)
    losses = [loss_of(trained[0], weights) for weights in ends]
    assert found.loss[0] == losses[0] and found.loss[-1] == losses[1] and losses[0] != losses[1]
    half = {name: (ends[0][name] + ends[1][name]) / 2 for name in ends[0]}
    assert found.loss[2] == pytest.approx(loss_of(trained[0], half), rel=1e-6)
    line = np.linspace(losses[0], losses[1], 5)
    assert found.barrier == pytest.approx(max(np.array(found.loss) - line), abs=1e-12)
    assert found.dip == pytest.approx(max(line - np.array(found.loss)), abs=1e-12)


def test_noise_on_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every matrix gets: of the size asked for, new in each draw, the same in each call."""
    s = made(Parity(k=3), 8, ModelConfig(layers="attention", width=32))
    before = copy.deepcopy(s.model)
    seen: list[dict[str, torch.Tensor]] = []

    def told(_: subject.Subject, model: Model | None = None) -> tuple[float, float]:
        if model is None:
            return 0.0, 1.0
        own = zip(model.named_parameters(), before.parameters(), strict=True)
        seen.append({name: (new - old).detach() for (name, new), old in own})
        return 0.0, 1.0 + len(seen)

    monkeypatch.setattr(interventions, "exact_and_loss", told)
    assert interventions.noise_harm(s, 0.5, draws=3, seed=7) == pytest.approx((1 + 2 + 3) / 3)
    interventions.noise_harm(s, 0.01, relative=False, draws=1, seed=7)
    *relative, absolute = seen
    for name, weight in before.named_parameters():
        rms = float(weight.detach().square().mean().sqrt())
        assert torch.equal(dict(s.model.named_parameters())[name], weight), "the model is kept"
        if weight.ndim == 1:
            assert not any(noise[name].any() for noise in seen)
            continue
        for noise in relative:
            bound = 5 * weight.numel() ** -0.5
            assert abs(float(noise[name].mean())) < 0.5 * rms * bound
            assert float(noise[name].std()) == pytest.approx(0.5 * rms, rel=bound)
        assert not torch.allclose(relative[0][name], relative[1][name])
        torch.testing.assert_close(
            absolute[name], relative[0][name] * (0.01 / 0.5 / rms), rtol=1e-2, atol=1e-5
        )
