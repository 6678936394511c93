"""lab eval: a trained tiny run, looked at again in every way the command offers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from lab.analysis.subject import load_model
from lab.cli.main import main
from lab.config import Experiment, Probe
from lab.config.experiment import change, from_json
from lab.evaluation.sampling import sample
from lab.evaluation.score import score
from lab.experiments._any import for_task
from lab.experiments.parity import experiment
from lab.nn.model import make_model
from lab.results.folder import read_configuration
from lab.runs.run import run
from lab.training.checkpoint import blend, mean
from tasks import load_file as load_task_file
from tasks.compose_parity import ComposeParity
from tasks.parity import Parity
from tests.commands import OWN

STEP, LAST = "step-4", "step-12"


def small(base: Experiment, **options: str) -> Experiment:
    options = {"steps": "12", "batch": "16", "keep_steps": "4", **options}
    for name, value in options.items():
        base = change(base, f"train.{name}", value)
    base = change(base, "model.width", "16")
    probes = tuple(dataclasses.replace(probe, n=128) for probe in base.probes)
    return dataclasses.replace(base, probes=probes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = small(experiment(length=8, k=3), lr="0.01")
    out = tmp_path_factory.mktemp("runs")
    return Path(run(base, out, device="cpu", checkpoint_every=2).run)


def lab_eval(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, args)], catch_exceptions=False)


def document(*args: str | Path) -> Any:
    done = lab_eval(*args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*args: str | Path) -> str:
    done = lab_eval(*args)
    assert done.exit_code == 2 and not done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return line


def experiment_of(folder: Path) -> Experiment:
    return from_json(read_configuration(folder))


def weights(folder: Path, step: int) -> dict[str, np.ndarray]:
    return load_file(folder / "checkpoint" / f"step-{step:08d}" / "weights.safetensors")


def loaded_at(folder: Path, step: int) -> Any:
    model = make_model(experiment_of(folder))
    arrays = weights(folder, step)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.from_numpy(arrays[name]))
    return model


def test_a_complete_run_is_scored_as_it_was(folder: Path) -> None:
    before = {
        path: hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    scored = document(folder, "--device", "cpu")
    result = json.loads((folder / "result.json").read_text())
    assert scored["scores"] == result["scores"] and scored["experiment"] == result["experiment"]
    assert scored["run"] == str(folder) and scored["checkpoint"] == LAST
    assert scored["interpolate"] is None and scored["samples"] == []
    assert document(folder.name, "--out", folder.parent)["scores"] == result["scores"]
    lab_eval(folder, "--samples", "2", "--interpolate", f"{STEP}:0.5")
    after = {path for path in folder.rglob("*") if path.is_file()}
    assert after == before.keys(), "a run folder is only read"
    assert all(hashlib.sha256(p.read_bytes()).digest() == sum_ for p, sum_ in before.items())


def test_an_interrupted_run(folder: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    (part / "result.json").unlink()
    shutil.rmtree(part / "checkpoint" / "step-00000012")
    assert document(part)["checkpoint"] == "step-10"
    shutil.rmtree(part / "checkpoint")
    assert "it has no checkpoint" in refused(part)


def test_a_checkpoint_by_name(folder: Path) -> None:
    scored = document(folder, "--checkpoint", STEP)
    base = experiment_of(folder)
    model = make_model(base)
    kept = {name: torch.from_numpy(value) for name, value in weights(folder, 4).items()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(kept[name])
    assert scored["scores"][0] == vars(score(model, base, base.probes[0]))
    assert scored["checkpoint"] == STEP


def test_the_ends_of_an_average_are_the_checkpoints(folder: Path) -> None:
    early, late = weights(folder, 4), weights(folder, 12)
    base = experiment_of(folder)

    def loaded(arrays: dict[str, np.ndarray]) -> torch.nn.Module:
        model = make_model(base)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(torch.from_numpy(arrays[name]))
        return model

    early["head.weight"][0, 0], late["head.weight"][0, 0] = -0.0, 1.0
    early["norm.weight"][0], late["norm.weight"][0] = 1.0, -0.0
    for share in (0.0, 0.25, 0.5, 1.0):
        model = loaded(late)
        blend(model, loaded(early), share)
        for name, p in model.named_parameters():
            own = p.detach().numpy()
            if share in (0, 1):
                assert own.tobytes() == (late if share else early)[name].tobytes()
            else:
                wanted = (1 - share) * early[name].astype(float) + share * late[name]
                assert np.allclose(own, wanted, rtol=1e-6, atol=1e-9)


def test_an_average_is_what_is_scored(folder: Path) -> None:
    alone = {name: document(folder, "--checkpoint", name)["scores"] for name in (STEP, LAST)}
    for share, name in ((0, STEP), (1, LAST)):
        scored = document(folder, "--interpolate", f"{STEP}:{share}")
        assert scored["scores"] == alone[name] and scored["checkpoint"] == LAST
        assert scored["interpolate"] == {"checkpoint": STEP, "share": share}
    half = document(folder, "--interpolate", "step-10:0.5", "--checkpoint", "step-4")
    assert half["checkpoint"] == STEP and half["interpolate"]["checkpoint"] == "step-10"
    model, other = (loaded_at(folder, step) for step in (4, 10))
    blend(model, other, 0.5)
    base = experiment_of(folder)
    assert half["scores"] == [vars(score(model, base, base.probes[0]))]


def test_other_probes(folder: Path) -> None:
    asked = ["length=10,n=64", "split=train,k=2,n=32", "length=6,n=16,label=short", "n=100"]
    scored = document(folder, *(arg for text in asked for arg in ("--probe", text)))
    rows = [(s["probe"], s["length"], s["n"]) for s in scored["scores"]]
    assert rows == [
        ("held out", 10, 64),
        ("split=train,k=2", 8, 32),
        ("short", 6, 16),
        ("held out", 8, 100),
    ]
    base, model = experiment_of(folder), loaded_at(folder, 12)
    probes = [
        Probe("held out", 10, {"split": "test"}, 64),
        Probe("split=train,k=2", 8, {"split": "train", "k": 2}, 32),
    ]
    assert [vars(score(model, base, probe)) for probe in probes] == scored["scores"][:2]


def test_an_option_with_a_comma_in_it() -> None:
    from lab.data.probes import parse_probe

    base = for_task(ComposeParity)(length=8)
    probe = parse_probe("k=3, drop_pair=(0,1),n=7,train_tasks=9", base)
    assert probe.change["drop_pair"] == (0, 1) and probe.change["k"] == 3 and probe.n == 7


def test_what_the_prompt_says(folder: Path) -> None:
    plain, base, model = document(folder), experiment_of(folder), loaded_at(folder, 12)
    for args, path, value in (
        (["--reveal", "1"], "train.reveal", "1"),
        (["--prompt-repeats", "2"], "prompt_repeats", "2"),
    ):
        scored = document(folder, *args)
        other = change(base, path, value)
        assert scored["scores"] == [vars(score(model, other, base.probes[0]))] != plain["scores"]
    assert document(folder, "--reveal", "1")["scores"][0]["valid_thought"] is None


def test_samples(folder: Path) -> None:
    scored = document(folder, "--samples", "5", "--temperature", "1.5", "--probe", "n=70")
    (row,) = scored["samples"]
    base, model = experiment_of(folder), loaded_at(folder, 12)
    probe = dataclasses.replace(base.probes[0], n=70)
    assert row == json.loads(json.dumps(dataclasses.asdict(sample(model, base, probe, 5, 1.5))))
    assert list(row["passes"]) == ["1", "2", "4"] and row["temperature"] == 1.5
    shares = [row["passes"][k]["value"] for k in row["passes"]]
    assert shares == sorted(shares) and scored["scores"][0]["n"] == 70
    one = document(folder, "--samples", "1", "--probe", "n=70")["samples"][0]
    assert one["temperature"] == 1.0 and list(one["passes"]) == ["1"]
    assert one["passes"]["1"]["value"] == one["vote"]["value"]


def test_what_a_person_reads(folder: Path) -> None:
    done = lab_eval(folder, "--samples", "4", "--interpolate", f"{STEP}:0.25")
    assert done.exit_code == 0
    for text in ("held out", "exact", "pass@1", "pass@4", "vote", "4 samples", "at step-12"):
        assert text in done.stdout
    assert "averaged: 0.75 of step-4" in done.stdout


REFUSED: list[tuple[list[str], str]] = [
    (["--checkpoint", "step-7"], "those of"),
    (["--checkpoint", "last"], "step-4, step-10, step-12"),
    (["--interpolate", "step-5:0.5"], "'step-5'"),
    (["--interpolate", "step-4"], "step-500:0.5"),
    (["--interpolate", "step-4:2"], "from 0 to 1"),
    (["--interpolate", "step-4:x"], "from 0 to 1"),
    (["--average", "step-5"], "'step-5'"),
    (["--average", "step-4,step-4"], "each checkpoint once; step-12 is evaluated"),
    (["--average", LAST], "each checkpoint once"),
    (["--average", ""], "checkpoint = ''"),
    (["--average", "step-4", "--interpolate", "step-4:0.5"], "exclude each other"),
    (["--probe", "kk=3"], "label, length, n, k, secret"),
    (["--probe", "length"], "such as length=40, with a key of label, length, n, k, secret"),
    (["--probe", "length=far"], "--probe length = 'far'"),
    (["--probe", "n=0"], "n = 0"),
    (["--probe", "split=tset"], "split = 'tset'"),
    (["--probe", "k=9"], "at most the length, 8"),
    (["--temperature", "1"], "without --samples"),
    (["--samples", "10001"], "1<=x<=10000"),
    (
        ["--samples", "10000", "--probe", "n=9999999"],
        "--samples = 10000 cannot be used: it needs about",
    ),
    (["--samples", "2", "--temperature", "0"], "a number above 0"),
    (["--samples", "2", "--temperature", "nan"], "a number above 0"),
    (["--samples", "0"], "--samples"),
    (["--reveal", "1.5"], "from 0 to 1"),
    (["--prompt-repeats", "0"], "--prompt-repeats"),
    (["--probe", "length=3000"], "model.max_positions"),
]


@pytest.mark.parametrize(("args", "message"), REFUSED, ids=str)
def test_mistakes_get_one_sentence(folder: Path, args: list[str], message: str) -> None:
    assert message in refused(folder, *args)


def test_where_there_is_no_run(folder: Path, tmp_path: Path) -> None:
    near = folder.name[:-1]
    assert f"did you mean '{folder.name}'" in refused(near, "--out", folder.parent)
    assert "there is no run x" in refused("x", "--out", tmp_path)
    (tmp_path / "config.json").write_text('{"task": 3}')
    assert "holds no experiment" in refused(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    file = damaged / "checkpoint" / "step-00000012" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "is damaged" in refused(damaged)
    assert document(damaged, "--checkpoint", "step-10")["checkpoint"] == "step-10"


def test_a_vocabulary_that_the_model_does_not_have(tmp_path: Path) -> None:
    from tasks.compose_arithmetic import ComposeArithmetic

    base = small(for_task(ComposeArithmetic)(length=3), steps="1", keep_steps="")
    path = run(base, tmp_path, device="cpu").run
    assert "its vocabulary is not the one" in refused(path, "--probe", "modulus=13")


def test_estimates_of_weights_are_not_averaged(tmp_path: Path) -> None:
    base = small(change(for_task(Parity)(), "model.sigma", "true"), steps="2", keep_steps="1")
    path = run(base, tmp_path, device="cpu").run
    assert "model.sigma" in refused(path, "--interpolate", "step-1:0.5")
    assert "--average does not apply: with model.sigma" in refused(path, "--average", "step-1")


def test_an_average_is_the_mean_of_its_checkpoints(folder: Path) -> None:
    """Weights against a loop in float64; the command scores the model that has them."""
    names = ("step-10", STEP, LAST)
    experiment, *models = (
        load_model(folder, names[0])[0],
        *(load_model(folder, n)[1] for n in names),
    )
    weights = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    mean(models[0], models[1:])
    for name, found in models[0].state_dict().items():
        expected = sum(one[name].double() for one in weights) / len(weights)
        assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-8), name
    probe = experiment.probes[0]
    scored = document(folder, "--checkpoint", names[0], "--average", f"{STEP}, {LAST}")
    assert scored["average"] == list(names) and scored["interpolate"] is None
    assert scored["scores"][0] == dataclasses.asdict(score(models[0], experiment, probe))
    done = lab_eval(folder, "--average", STEP)
    assert f"at {LAST}, averaged with {STEP}  (" in done.stdout


def test_a_task_of_the_users_own(folder: Path, tmp_path: Path) -> None:
    """Its file is executed when it is named in the command, never because a folder names it."""
    file = tmp_path / "last.py"
    file.write_text(OWN)
    base = small(for_task(load_task_file(file), str(file))(), steps="2", keep_steps="")
    path = Path(run(base, tmp_path, device="cpu").run)
    data = read_configuration(path)
    mark = f"__import__('pathlib').Path({str(tmp_path / 'executed')!r}).touch()\n"
    file.write_text(mark + OWN)
    assert "given by hand (--task)" in refused(path)
    assert not (tmp_path / "executed").exists()
    assert document(path, "--task", file)["experiment"] == data
    assert (tmp_path / "executed").exists()
    assert "the lab's own" in refused(folder, "--task", file)
    shutil.copy(file, tmp_path / "other.py")
    assert "the run is on last" in refused(path, "--task", tmp_path / "other.py")
    assert "there is no file" in refused(path, "--task", tmp_path / "none.py")
