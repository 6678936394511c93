"""A run by distillation: what it takes over, trains and logs, and that it resumes exactly."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.cli.progress import _standing
from lab.nn.model import make_model
from lab.report.words import facts
from lab.results.folder import Folder, load
from lab.results.groups import groups
from lab.results.steps import samples
from lab.runs.run import run
from lab.training import checkpoint
from tests.stages import distilled, undropped
from tests.trained import log, weights


def test_a_run_resumes_from_nothing_but_its_own_command(tmp_path: Path) -> None:
    """Its parent is made again, because every step asks it."""
    e = distilled(undropped(layers="attention,lstm"), freeze=("*.qkv.*",), targets="shuffled")
    folder, parent = Folder(tmp_path, e), Folder(tmp_path, undropped(layers="attention,lstm"))
    whole = run(e, tmp_path, checkpoint_every=10)
    digest, rows = weights(folder), log(folder)
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == [10, 20]
    assert all(row["loss"] > row["divergence"] > 0 for row in steps)
    folder.result.unlink()
    shutil.rmtree(folder.checkpoints / "step-00000020")
    shutil.rmtree(parent.path)
    again = run(e, tmp_path, checkpoint_every=10)
    assert weights(folder) == digest and log(folder) == rows and parent.result.exists()
    assert again.scores == whole.scores == load(folder.path).scores
    assert _standing(rows[0])[0] == f"divergence {rows[0]['divergence']:.4f}"
    (group,) = groups([whole])
    assert "by distillation of attention (targets: shuffled)" in facts(group)["Training"]
    assert samples(whole) is None


def test_the_parents_weights_are_taken_over(tmp_path: Path) -> None:
    """All but the maps; only what the weights of attention depend on is trained."""
    e = distilled(schedule="constant")
    run(e, tmp_path)
    assert e.parent is not None
    first = make_model(e)
    theirs, own = make_model(e.parent.experiment), make_model(e)
    for model, one, name in ((theirs, e.parent.experiment, "60"), (own, e, "20")):
        path = Folder(tmp_path, one).checkpoints / f"step-{name.zfill(8)}"
        checkpoint.load_weights(path, model, one.slug)
    before = dict(theirs.named_parameters())
    changed = {name for name, p in own.named_parameters() if not p.equal(before.get(name, p))}
    assert changed == {"blocks.0.mixer.qkv.weight"}
    assert not own.blocks[0].mixer.maps.equal(first.blocks[0].mixer.maps)  # type: ignore[union-attr, operator]
    D = e.model.width
    qkv = own.blocks[0].mixer.qkv.weight, theirs.blocks[0].mixer.qkv.weight  # type: ignore[union-attr]
    assert qkv[0][2 * D :].equal(qkv[1][2 * D :]), "values are no part of the weights"  # type: ignore[operator, index]
