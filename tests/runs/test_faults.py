"""Kills and damages by the hundred: the same bytes, log and scores, or one sentence.

    HYPOTHESIS_PROFILE=nightly python -m pytest -m slow -s tests/runs/test_faults.py

prints the counts of 260 kills over thirteen kinds of run, and of 1,000 damages each of checkpoints,
log, configuration and result: found (named, and made again or refused), harmless (the same result),
silent (another result), traceback (an error that no command turns into a sentence).
"""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.config import Experiment
from lab.errors import RunFailed
from lab.experiments.parity import experiment
from lab.results.folder import Folder, load, read_configuration
from lab.runs.run import run
from lab.runs.worker import attempt
from tests.damage import damaged
from tests.profiles import NIGHTLY
from tests.trained import copy_of, log, tensors

pytestmark = pytest.mark.slow

KILLS = 20 if NIGHTLY else 2  # of each kind
DAMAGES = 1000 if NIGHTLY else 100
STEPS, EVERY = 24, 5

# What every run imports: in the process that forks, so that each start takes a moment.
IMPORTED = ["lab.runs.worker", "lab.training.trainer", "torch._dynamo", "scipy.stats", "filelock"]
IMPORTED += ["lab.experiments.parity", "lab.mixers.attention", "msgspec", "pytorch_optimizer"]

# Options of training, and of the model, by kind.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wsd": ({"schedule": "wsd", "decay": 0.5, "budgets": (8, 20), "keep_steps": (7,)}, {}),
    "wsd_s": ({"schedule": "wsd_s", "decay": 0.4, "budgets": (10,)}, {}),
    "dropout": ({"eval_every": 6, "eval_answers": False}, {"dropout": 0.3}),
    "muon": ({"optimizer": "muon", "weight_decay": 0.1}, {}),
    "soap": ({"optimizer": "soap", "lr": 0.01}, {}),
    "noise": ({"grad_noise": 0.1, "cot_noise": "dynamic"}, {}),
    "recurrent": ({"eval_every": 4}, {"layers": "lstm,mamba", "position": "none"}),
    "early stop": ({"eval_every": 3, "threshold": 0.3, "early_stop": True, "lr": 0.01}, {}),
    "fixed rows": ({"examples": 64, "grad_accum": 2, "lengths": (6, 5), "curriculum": 0.5}, {}),
    "grpo": ({"objective": "grpo", "samples": 4, "updates": 2, "kl": 0.1, "lr": 0.01}, {}),
    "hints": ({"objective": "grpo", "reveal": (0.5, 0.0), "reveal_of": "other"}, {}),
    "expert iteration": ({"objective": "expert_iteration", "samples": 4, "accept": "random"}, {}),
    "experts": ({"optimizer": "adalayer"}, {"experts": 3, "norm": "preaffine"}),
}


def of_kind(name: str) -> Experiment:
    train, model = KINDS[name]
    base = experiment(k=2, length=6)
    return dataclasses.replace(
        base,
        train=dataclasses.replace(base.train, **{"steps": STEPS, "batch": 8, **TRAIN, **train}),
        model=dataclasses.replace(base.model, **{"width": 16, **model}),
        probes=(dataclasses.replace(base.probes[0], n=32),),
    )


TRAIN = {"eval_every": 0, "eval_rows": 0, "eval_answers": True}


def scored(folder: Folder) -> tuple[Any, ...]:
    result = load(folder.path)
    return result.scores, result.curves, result.learned, result.steps


@pytest.mark.parametrize("kind", KINDS)
def test_killed_runs_end_the_same(kind: str, tmp_path: Path) -> None:
    """SIGKILL at random moments of processes that are forked with everything imported."""
    e = of_kind(kind)
    whole = Folder(tmp_path / "whole", e)
    run(e, tmp_path / "whole", checkpoint_every=EVERY)
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(IMPORTED)
    rng, kills, rounds, seconds = random.Random(kind), 0, 0, 0.0
    while kills < KILLS:
        rounds += 1
        folder = Folder(tmp_path / str(rounds), e)
        job = {"experiment": e.to_json(), "out": str(tmp_path / str(rounds))}
        while not folder.result.exists():
            process = fork.Process(target=attempt, args=({**job, "checkpoint_every": EVERY},))
            began = time.monotonic()
            process.start()
            killed = False
            if seconds and rng.random() < 0.9:
                process.join(rng.uniform(0, seconds))
                killed = process.is_alive()
                process.kill()
            process.join()
            kills += killed
            if not killed:  # the first one waits for all imports
                seconds = min(seconds or math.inf, time.monotonic() - began)
        assert tensors(folder) == tensors(whole), rounds
        assert log(folder) == log(whole), rounds
        assert scored(folder) == scored(whole), rounds
    print(f"\n{kind}: {kills} kills of {rounds} runs, all with the same bytes, log and scores")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A complete run with a branch, checkpoints 20 and 24 and evaluations, for damage."""
    e = of_kind("wsd")
    out = tmp_path_factory.mktemp("whole")
    run(e, out, checkpoint_every=EVERY)
    return Folder(out, e)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The same with another seed."""
    e = of_kind("wsd")
    e = dataclasses.replace(e, train=dataclasses.replace(e.train, seed=1))
    out = tmp_path_factory.mktemp("other")
    run(e, out, checkpoint_every=EVERY)
    return Folder(out, e)


def damage_file(file: Path, rng: random.Random) -> None:
    file.write_bytes(damaged(file.read_bytes(), rng))


def damage_checkpoints(folder: Folder, other: Folder, rng: random.Random) -> None:
    """Bytes of a file, or what stands where in the folder of checkpoints."""
    steps = sorted(folder.checkpoints.glob("step-*"))
    one, two = rng.sample(steps, 2)
    file = rng.choice(sorted(one.iterdir()))
    aside = folder.checkpoints / "aside"
    foreign = other.checkpoints / one.name
    match rng.randrange(16):
        case 0:
            file.unlink()
        case 1:
            shutil.rmtree(one)
        case 2:
            shutil.rmtree(one)
            one.write_bytes(b"")
        case 3:
            one.rename(aside), two.rename(one), aside.rename(two)
        case 4:
            one.rename(folder.checkpoints / f"step-{rng.choice((3, 22, 100)):08d}")
        case 5:
            shutil.rmtree(one)
            shutil.copytree(foreign, one)
        case 6:
            shutil.copy(foreign / file.name, file)
        case 7:
            shutil.copy(two / file.name, file)
        case 8:
            shutil.copytree(foreign, folder.checkpoints / "step-00000100")
        case _:
            damage_file(file, rng)


def outcome(act: Callable[[], tuple[bool, bool]]) -> str:
    """act: whether the result is the same, and whether something was said."""
    try:
        same, said = act()
    except (ValueError, RunFailed):
        return "found"
    except Exception as error:
        return f"traceback {type(error).__name__}"
    return "silent" if not same else "found" if said else "harmless"


def resumed(folder: Folder, whole: Folder) -> tuple[bool, bool]:
    said: list[str] = []
    run(folder.experiment, folder.path.parent, checkpoint_every=EVERY, warn=said.append)
    steps = (f"step-{STEPS:08d}", "branch")
    final = [{k: v for k, v in tensors(f).items() if k.startswith(steps)} for f in (folder, whole)]
    same = scored(folder) == scored(whole) and log(folder) == log(whole)
    return same and final[0] == final[1], bool(said)


@pytest.mark.parametrize("target", ["checkpoint", "log", "config", "result"])
def test_damage_is_found_or_harmless(
    target: str, whole: Folder, other: Folder, tmp_path: Path
) -> None:
    """Of an interrupted run that resumes; of a complete one that is read (config, result)."""
    rng, counts = random.Random(target), Counter[str]()
    result, configuration = load(whole.path), read_configuration(whole.path)
    for number in range(DAMAGES):
        folder = copy_of(whole, tmp_path / str(number))
        if target in ("checkpoint", "log"):
            folder.result.unlink()

        def act(folder: Folder = folder) -> tuple[bool, bool]:
            if target in ("checkpoint", "log"):
                return resumed(folder, whole)
            if target == "result":
                return dataclasses.replace(load(folder.path), run=result.run) == result, False
            return read_configuration(folder.path) == configuration, False

        if target == "checkpoint":
            damage_checkpoints(folder, other, rng)
        else:
            damage_file(getattr(folder, "metrics" if target == "log" else target), rng)
        found = outcome(act)
        counts[found] += 1
        assert found in ("found", "harmless"), (number, found)
        shutil.rmtree(tmp_path / str(number))
    print(f"\n{target}: {dict(counts)}")
