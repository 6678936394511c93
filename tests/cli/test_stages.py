"""`lab run NAME --from RUN[@STEP]`, and lineage in lists, reports and the board."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.analysis.subject import load_model
from lab.evaluation.score import score
from lab.results.folder import Folder
from tests.commands import invoke, sentence
from tests.trained import small, trained, weights

TUNE = ("run", "parity", "--length", "6", "--k", "3", "--steps", "4", "--batch", "16")
NAME = small().slug


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of small() and a run that was started from it."""
    out = tmp_path_factory.mktemp("stages")
    shutil.copytree(trained().path, out / NAME)
    done = invoke(*TUNE, "--from", NAME, "--out", str(out), "--lr", "0")
    assert done.exit_code == 0, done.stderr
    return out


def tuned(out: Path) -> dict[str, Any]:
    (name,) = {path.name for path in out.glob("parity-*")} - {NAME}
    config: dict[str, Any] = json.loads((out / name / "config.json").read_text())
    return config


def test_it_starts_from_the_run_with_its_model(out: Path) -> None:
    config = tuned(out)
    assert config["parent"] == {"experiment": small().to_json(), "at": None, "fixed": True}
    assert config["model"] == small().to_json()["model"] and config["task"]["k"] == 3


def test_the_same_command_resumes_without_its_parents_folder(out: Path, tmp_path: Path) -> None:
    """The run that it names is read from the child's own configuration, and made again."""
    for path in out.glob("parity-*"):
        shutil.copytree(path, tmp_path / path.name)
    (name,) = {path.name for path in tmp_path.glob("parity-*")} - {NAME}
    before = (tmp_path / name / "checkpoint/step-00000004/weights.safetensors").read_bytes()
    shutil.rmtree(tmp_path / NAME)
    shutil.rmtree(tmp_path / name / "checkpoint")
    (tmp_path / name / "result.json").unlink()
    done = invoke(*TUNE, "--from", NAME, "--out", str(tmp_path), "--lr", "0")
    assert done.exit_code == 0 and "the parent is made again" in done.stderr
    assert (tmp_path / name / "checkpoint/step-00000004/weights.safetensors").read_bytes() == before
    assert weights(Folder(tmp_path, small())) == weights(trained())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--from", "parity-12345678"), "no run is named 'parity-12345678'"),
        (
            ("--from", f"{NAME}@40"),
            "'step-40' cannot be used: its training keeps step-60;",
        ),
        (("--from", f"{NAME}@last"), "parent.at = 'last'"),
        (("--from", NAME, "--width", "32"), "its model differs: width = 16 there and 32 here"),
        (("--from", NAME, "--set", "model.width=32"), "width = 16 there and 32 here"),
        (("--from", NAME, "--layers", "lstm"), "layers = 'attention' there and 'lstm' here"),
        (
            ("--from", NAME, "--objective", "distillation"),
            "model.layers = 'attention' cannot be used: with objective = distillation: the layers",
        ),
        (
            ("--from", NAME, "--objective", "distillation", "--layers", "hedgehog"),
            "model.dropout = 0.1 cannot be used: with objective = distillation nothing but",
        ),
        (
            (
                *("--from", NAME, "--objective", "distillation", "--layers", "hedgehog"),
                *("--dropout", "0", "--freeze", "*.mixer.*"),
            ),
            "train.freeze = '*.mixer.*' cannot be used: it leaves nothing that the attention of",
        ),
        (("--optimizer-state", "kept"), "without a parent there is none to keep"),
        (("--from", NAME, "--freeze", "mixer.*"), "train.freeze = 'mixer.*'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(args: tuple[str, ...], told: str, out: Path) -> None:
    before = sorted(out.iterdir())
    assert told in sentence(invoke(*TUNE, *args, "--out", str(out)), 2)
    assert sorted(out.iterdir()) == before


def test_other_words_are_named(out: Path) -> None:
    done = invoke("run", "copy", "--from", NAME, "--out", str(out))
    assert f"parent = '{NAME}' cannot be used: its vocabulary differs: " in sentence(done, 2)


def test_a_model_may_differ_where_weights_do_not(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / NAME, tmp_path / NAME)
    args = ("--from", str(tmp_path / NAME), "--dropout", "0.3", "--optimizer-state", "kept")
    done = invoke(*TUNE, *args, "--out", str(tmp_path), "--json")
    experiment = json.loads(done.stdout)["experiment"]
    assert experiment["model"]["dropout"] == 0.3 and experiment["model"]["width"] == 16
    assert experiment["parent"]["experiment"]["model"]["dropout"] == 0.1
    assert experiment["train"]["optimizer_state"] == "kept"


def test_lineage_shows_in_lists(out: Path) -> None:
    table = invoke("list", "runs", "--out", str(out)).stdout
    assert "parent" in table.splitlines()[0] and table.count(NAME) >= 2
    chosen = invoke("list", "runs", "--out", str(out), "--columns", "run,parent", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(chosen)))
    assert sorted(row["parent"] for row in rows) == ["", NAME]
    only = invoke("list", "runs", "--out", str(out), "--where", f"parent={NAME}", "--json").stdout
    assert [run["experiment"]["task"]["k"] for run in json.loads(only)["complete"]] == [3]


def test_lineage_shows_in_the_report_and_on_the_board(out: Path, tmp_path: Path) -> None:
    (run,) = set(out.glob("parity-*")) - {out / NAME}
    for name, args in (("page", ["report", str(run), "--html"]), ("board", ["board", str(out)])):
        page = tmp_path / f"{name}.html"
        done = invoke(*args, "--to", str(page))
        assert done.exit_code == 0, done.stderr
        text = page.read_text()
        assert f"from the weights of {NAME}" in text if name == "page" else f">{NAME}</td>" in text
    assert ">parent<" in text


def test_the_way_from_the_parent_to_its_child(out: Path, tmp_path: Path) -> None:
    """Weights that lie between both, against a loop; and each run without a parent to go to."""
    shutil.copytree(out / NAME, tmp_path / NAME)
    assert invoke(*TUNE, "--from", NAME, "--out", str(tmp_path), "--lr", "0.1").exit_code == 0
    (child,) = set(tmp_path.iterdir()) - {tmp_path / NAME}
    told = invoke("eval", str(child), "--interpolate", "parent:0.25", "--json")
    document = json.loads(told.stdout)
    first = f"{NAME}@step-{small().train.steps}"
    assert document["interpolate"] == {"checkpoint": first, "share": 0.25}
    experiment, model, _ = load_model(child)
    parent, wanted = load_model(tmp_path / NAME)[1], []
    for old, new in zip(parent.parameters(), model.parameters(), strict=True):
        wanted.append(float((old.detach() - new.detach()).abs().max()))
        new.data = 0.75 * old.detach() + 0.25 * new.detach()
    assert max(wanted) > 0.01
    assert document["scores"][0] == vars(score(model, experiment, experiment.probes[0]))
    shown = invoke("analyze", str(child), "--interpolate", "parent", "--rows", "8")
    assert f"loss from {first} (0) to step-4 (1)" in shown.stdout
    for run, why in (
        (tmp_path / NAME, "started from no other run"),
        (shutil.move(child, tmp_path / "else" / child.name), f"{NAME} is not there"),
    ):
        refused = invoke("eval", str(run), "--interpolate", "parent:0.5")
        assert "checkpoint = 'parent' cannot be used" in sentence(refused, 2)
        assert why in sentence(refused, 2)
