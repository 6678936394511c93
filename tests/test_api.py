"""`import lab`: its names, that it is light, and its worked examples."""

from __future__ import annotations

import ast
import doctest
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.claims._check import claim_of
from lab.results.find import folders, results
from lab.results.result import Result
from lab.runs.grid import combinations
from lab.runs.progress import run_all

ROOT = Path(__file__).resolve().parent.parent
MY_CLAIM = ROOT / "tests" / "claims" / "my_claim.py"
EXAMPLES = [test for test in doctest.DocTestFinder().find(lab) if test.examples]
SMALL: dict[str, Any] = {"length": [4], "width": [16], "steps": [30], "batch": [32]}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with my_claim.py; the runs of the examples are made there in this
    process, which spares the processes that sweeps and claims start."""
    folder = tmp_path_factory.mktemp("api")
    shutil.copy(MY_CLAIM, folder)
    claim = replace(claim_of(str(MY_CLAIM), "cpu"), seeds=2)
    runs = combinations("parity", {"k": [1, 2], **SMALL}, 2)
    for experiment in [*runs, *claim.experiments()]:
        lab.run(experiment, folder / "runs")
    return folder


@pytest.fixture
def here(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(work)
    return work


def test_every_function_has_an_example() -> None:
    functions = {name for name in lab.__all__ if name[0].islower()}
    assert {test.name.removeprefix("lab.") for test in EXAMPLES} == functions


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_the_examples_of_the_docstrings(test: doctest.DocTest, here: Path) -> None:
    if test.name == "lab.frame":
        pytest.importorskip("pandas")
    test.globs = {"lab": lab}
    failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert tried and not failed


def test_import_is_light_and_its_names_are_complete() -> None:
    code = (
        "import sys, lab\n"
        "heavy = {'torch', 'numpy', 'click', 'rich', 'scipy', 'matplotlib', 'pandas', 'tasks'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert set(lab.__all__) <= set(dir(lab))\n"
        "for name in lab.__all__: assert getattr(lab, name) is not None\n"
        "from lab import Experiment, experiment\n"
        "assert 'torch' not in sys.modules and Experiment.__name__ == 'Experiment'\n"
        "assert isinstance(experiment('parity'), Experiment)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="'lab' has no attribute 'Experimnet'"):
        lab.Experimnet  # type: ignore[attr-defined]  # noqa: B018
    assert (ROOT / "lab" / "py.typed").exists()


def test_the_lab_itself_uses_only_its_version() -> None:
    """The contract of layers ignores imports of `lab` from below the commands for this alone."""
    modules = {path.stem for path in (ROOT / "lab").iterdir()}
    below = [path for path in (ROOT / "lab").glob("*/**/*.py") if "cli" not in path.parts]
    for path in sorted(below):
        tree = ast.parse(path.read_text())
        bare = any(
            isinstance(node, ast.Import) and any(alias.name == "lab" for alias in node.names)
            for node in ast.walk(tree)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "lab":
                names = {alias.name for alias in node.names} - modules
                assert names <= {"__version__"}, path
            if bare and isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "lab" or node.attr in {"__version__", "__file__"}, path


def test_load_by_folder_pattern_name_and_run(here: Path) -> None:
    every = lab.load()
    assert [Path(result.run).name for result in every] == sorted(
        path.parent.name for path in here.glob("runs/*/result.json")
    )
    first = every[0]
    for name in (first.run, Path(first.run).name):
        assert lab.load(name) == [first]
    mine = lab.load("my-claim-*")
    assert mine and {result.experiment["name"] for result in mine} == {"my-claim"}
    with pytest.raises(ValueError, match="runs = 'nothing' cannot be used: no run folder"):
        lab.load("nothing")


def test_what_is_not_complete(tmp_path: Path) -> None:
    assert results(tmp_path) == [] == folders(tmp_path)
    started = tmp_path / "parity-1"
    started.mkdir()
    (started / "config.json").write_text("{}")
    assert folders(tmp_path) == [started] and results(tmp_path) == []
    with pytest.raises(ValueError, match="not complete"):
        results(started)


def test_a_frame_has_a_row_for_each_run_and_probe(here: Path) -> None:
    pytest.importorskip("pandas")
    complete = lab.load()
    table = lab.frame(complete)
    assert len(table) == sum(len(result.scores) for result in complete)
    for (_, row), result in zip(table.iterrows(), complete, strict=True):
        assert row["run"] == result.run and row["exact"] == result.scores[0].exact
        assert row["train.seed"] == result.experiment["train"]["seed"]
        assert row["train.lengths"] == (4,) and row["length"] == 4
    assert len(table.groupby(["name", "task.k", "train.lengths", "train.steps"]).exact.mean()) == 4


def test_a_frame_without_pandas(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"reasoning-lab\[notebooks\]"):
        lab.frame(lab.load())


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"seed": [1, 2]}, "`seeds` gives every combination its seeds"),
        ({"k": 2}, "a list of values"),
        ({"layers": "lstm"}, "a list of values"),
        ({"k": []}, "a list of values"),
        ({"k": [2, 99]}, "^k = 99: "),
        ({"kk": [2]}, "^kk = 2: kk = 2 cannot be used"),
        ({"k": [2, 2]}, "the same run as k = 2"),
    ],
)
def test_a_grid_that_cannot_be_run_starts_nothing(grid: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        lab.sweep("parity", grid, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_grid_is_a_product(tmp_path: Path) -> None:
    made = combinations("parity", {"k": [1, 2], "lr": [0.1, 0.2]}, 2)
    assert [(e.task.k, e.train.lr, e.train.seed) for e in made] == [  # type: ignore[attr-defined]
        (k, lr, seed) for k in (1, 2) for lr in (0.1, 0.2) for seed in (0, 1)
    ]
    with pytest.raises(ValueError, match="seeds = 0"):
        combinations("parity", {"k": [1]}, 0)


def test_progress_counts_finished_runs(here: Path) -> None:
    calls: list[tuple[int, int, list[dict[str, Any]]]] = []
    made = combinations("parity", {"k": [1, 2], **SMALL}, 2)
    done = run_all(made, "runs", progress=lambda *call: calls.append(call))
    assert [result.experiment for result in done] == [e.to_json() for e in made]
    assert calls[-1][:2] == (4, 4) and all(len(rows) == 4 for _, _, rows in calls)


def test_a_run_is_watched(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    small = lab.experiment("parity", k=2, length=4, width=16, steps=3, batch=4)
    result = lab.run(small, tmp_path, watch=rows.append)
    assert isinstance(result, Result) and any("evaluating" in row for row in rows)


def test_one_model_of_one_run(here: Path) -> None:
    import torch

    (run,) = {e.slug for e in combinations("parity", {"k": [2], **SMALL}, 1)}
    module = lab.model(run)
    stored = here / "runs" / run / "checkpoint"
    assert isinstance(module, torch.nn.Module) and not module.training and stored.is_dir()
    seen: list[Any] = []
    hook = module.blocks[0].register_forward_hook(lambda *args: seen.append(args))
    module(torch.zeros(1, 4, dtype=torch.long))
    hook.remove()
    assert len(seen) == 1
    with pytest.raises(ValueError, match="one run is needed, this names"):
        lab.model("parity-*")


def test_a_claim_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="did you mean 'cot-parity'"):
        lab.check_claim("cot-party")
    with pytest.raises(ValueError, match="there is no such file"):
        lab.check_claim("./nowhere.py")
    with pytest.raises(ValueError, match="seeds = 1"):
        lab.check_claim("cot-parity", seeds=1)
