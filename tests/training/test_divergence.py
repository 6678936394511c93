"""A run that diverges ends at the step it happens, says what to change, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import TrainConfig
from lab.errors import RunFailed
from lab.results.folder import Folder
from lab.runs.run import run
from lab.training import checkpoint, trainer
from lab.training.loop import train
from tests.trained import small


@pytest.mark.parametrize("step", [7, 10, 12])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_end_a_run(
    step: int, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an update is bad, the loss is finite: at the last step nothing else would find it."""

    def spoiled(e: Any, model: Any, *rest: Any) -> Iterator[Any]:
        for now in train(e, model, *rest):
            if now.number == step:
                with torch.no_grad():
                    list(model.parameters())[-1].view(-1)[0] = value
            yield now

    monkeypatch.setattr(trainer, "train", spoiled)
    e = small(steps=12)
    folder = Folder(tmp_path, e)
    message = rf"the weights are no finite numbers at step {step}; try a smaller train\.lr than"
    with pytest.raises(RunFailed, match=message) as failed:
        run(e, tmp_path, checkpoint_every=5)
    kept = [path.name for path in checkpoint.list_checkpoints(folder.checkpoints)]
    assert kept == [f"step-{s:08d}" for s in (5, 10) if s < step]
    assert str(failed.value).endswith(f" (last checkpoint kept in {folder.checkpoints})")
    assert not folder.result.exists()


def test_large_weights_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their sum overflows."""

    def spoiled(e: Any, model: Any, *rest: Any) -> Iterator[Any]:
        for now in train(e, model, *rest):
            if now.number == 3:
                with torch.no_grad():
                    list(model.parameters())[-1].view(-1)[:2] = 3e38
            yield now

    monkeypatch.setattr(trainer, "train", spoiled)
    assert run(small(steps=3), tmp_path).steps == 3


def test_a_run_that_diverged_is_not_tried_in_vain(tmp_path: Path) -> None:
    e = small(lr=1e18, grad_clip=0.0)
    folder = Folder(tmp_path, e)
    advice = r"try a smaller train\.lr than 1e\+18 or train\.grad_clip = 1"
    with pytest.raises(RunFailed, match=rf"^the loss is (nan|inf) at step \d+; {advice}$"):
        run(e, tmp_path)
    log = folder.metrics.read_bytes()
    again = rf"failed and would again: the loss is not finite at step \d+; {advice}, .* or delete"
    with pytest.raises(RunFailed, match=again):
        run(e, tmp_path)
    assert folder.metrics.read_bytes() == log
    folder.failure.unlink()
    with pytest.raises(RunFailed, match=r"the loss is (nan|inf) at step"):
        run(e, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": 3, "what": "loss is", "seal": ""}'])
def test_a_damaged_failure_is_named(content: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path, small())
    folder.open()
    folder.failure.write_text(content)
    with pytest.raises(ValueError, match=r"failed\.json is damaged, delete it to try again"):
        run(small(), tmp_path)


@pytest.mark.parametrize("name", ["lr", "weight_decay", "grad_noise", "grad_clip"])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_options_are_finite_numbers(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"train\.{name} = .* cannot be used: a finite number"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]
