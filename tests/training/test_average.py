"""The moving average of the weights against its definition, and what reads it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from lab.analysis.subject import load_model
from lab.config import Experiment
from lab.evaluation.score import score
from lab.results.folder import Folder, load
from lab.runs.run import run
from lab.training import checkpoint
from tests.stages import child
from tests.trained import small

DECAY, STEPS = 0.8, 7
WEIGHTS = "weights.safetensors"


def averaged() -> Experiment:
    return small(
        steps=STEPS,
        keep_steps=tuple(range(1, STEPS)),
        ema=DECAY,
        lr=0.01,
        eval_every=4,
        eval_rows=64,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    out = tmp_path_factory.mktemp("averaged")
    run(averaged(), out, "cpu")
    return Folder(out, averaged())


def test_it_is_the_weighted_mean_of_the_weights_after_every_step(folder: Folder) -> None:
    """In float64, at every step t: sum d^(t-i) w_i / sum d^(t-i)."""
    paths = checkpoint.list_checkpoints(folder.checkpoints)
    weights = [load_file(path / "weights.safetensors") for path in paths]
    assert len(weights) == STEPS
    for t, path in enumerate(paths, 1):
        mean = load_file(path / "ema.safetensors")
        shares = [DECAY ** (t - i) for i in range(1, t + 1)]
        for name, found in mean.items():
            terms = [s * w[name].double() for s, w in zip(shares, weights, strict=False)]
            expected = torch.stack(terms).sum(0) / sum(shares)
            assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-7), (t, name)
    assert not torch.equal(mean["embed.weight"], weights[-1]["embed.weight"])


def test_probes_score_it_and_readers_choose(folder: Folder) -> None:
    result = load(folder.path)
    for at, name in (
        (None, f"ema-{STEPS}"),
        (f"step-{STEPS}", f"step-{STEPS}"),
        ("ema-4", "ema-4"),
    ):
        experiment, model, found = load_model(folder.path, at)
        assert (experiment, found) == (averaged(), name)
        own = score(model, experiment, experiment.probes[0])
        assert at is not None or own == result.scores[0]
        if name == "ema-4":
            assert result.curves[0]["step"] == 4
            assert result.curves[0]["scores"][0]["exact"] == own.exact
    with pytest.raises(ValueError, match=r"those of .* are step-1, .*ema-7"):
        load_model(folder.path, "ema-9")


def test_a_child_starts_from_what_was_scored(folder: Folder) -> None:
    for at, name in ((None, "ema"), ("step-7", "weights"), ("ema-3", "ema")):
        start = child(averaged(), at, lr=0.0, steps=1)
        run(start, folder.path.parent, "cpu")
        own = load_file(Folder(folder.path.parent, start).checkpoints / "step-00000001" / WEIGHTS)
        step = "step-00000003" if at == "ema-3" else "step-00000007"
        there = load_file(folder.checkpoints / step / f"{name}.safetensors")
        assert all(torch.equal(own[name], there[name]) for name in own | there)
