"""Engines: what each takes and refuses, and sweeps on submitit's processes, on a Ray cluster that
loses a node (-m ray) and on a SLURM that preempts (-m slurm).

A SLURM of one node, as root on Debian with slurm-wlm and munge, is this in /etc/slurm/slurm.conf

    ClusterName=one
    SlurmctldHost=HOST
    SlurmUser=root
    StateSaveLocation=/tmp/slurmctld
    SlurmdSpoolDir=/tmp/slurmd
    ProctrackType=proctrack/linuxproc
    TaskPlugin=task/none
    SelectType=select/cons_tres
    SelectTypeParameters=CR_Core
    ReturnToService=2
    NodeName=HOST CPUs=2 State=UNKNOWN
    PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP

with `hostname` for HOST and the cores of the machine for CPUs, and then

    mkdir -p /run/munge /tmp/slurmctld /tmp/slurmd && chown munge /run/munge
    runuser -u munge /usr/sbin/munged && slurmctld && slurmd && sinfo
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab import registry
from lab.cli.grid import combinations
from lab.cli.main import main
from lab.config import Experiment
from lab.experiments.parity import experiment
from lab.results.folder import Folder, load
from lab.runs import engines
from lab.runs.engines import slurm
from lab.runs.run import run
from tests.processes import LINUX, children

TINY = {"length": "6", "k": "2", "batch": "16", "width": "16", "grad_clip": "0"}
NO_SUBMITIT = importlib.util.find_spec("submitit") is None


def grid(*texts: str, seeds: int = 1) -> list[Experiment]:
    given = {"grids": texts, "sets": (), "seeds": seeds, **TINY}
    return [e for c in combinations(experiment, given) for e in c.experiments]


def command(out: Path, *more: str) -> list[str]:
    options = [
        text for name, value in TINY.items() for text in (f"--{name.replace('_', '-')}", value)
    ]
    return ["sweep", "parity", *options, "--out", str(out), *more]


def order(e: Experiment, out: Path, device: str = "cpu") -> engines.Order:
    return {"experiment": e.to_json(), "out": str(out), "device": device, "checkpoint_every": 20}


def losses(folder: Folder) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in folder.read_log() if "loss" in row]


def until(happens: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.05)


def in_the_middle(folder: Folder) -> bool:
    return folder.checkpoints.exists() and not folder.result.exists()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (
            ["--address", "1.2.3.4:5"],
            2,
            "--address = '1.2.3.4:5' cannot be used: only with --engine",
        ),
        (["--engine", "ray", "--partition", "x"], 2, "only with --engine slurm"),
        (["--engine", "slurm", "--minutes", "soon"], 2, "--minutes = 'soon' cannot be used"),
        (["--engine", "slurm", "--minutes", "0"], 2, "--minutes = 0 cannot be used: at least 1"),
        (["--engine", "slurm"], 1, "--engine slurm: there is no sbatch here"),
        (["--engine", "cloud"], 2, "cloud"),
    ],
)
def test_refusals(
    options: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.runs.engines.slurm.need", lambda engine, package: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    out = tmp_path / "runs"
    done = CliRunner().invoke(main, command(out, "--grid", "lr=0.1,0.2", *options))
    assert done.exit_code == code and says in done.stderr and not done.stdout
    assert not out.exists()


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_a_missing_package_is_named(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    gone = ("ray", "submitit")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda n, *a: None if n in gone else real(n, *a)
    )
    options = ["--grid", "lr=0.1,0.2", "--engine", engine]
    done = CliRunner().invoke(main, command(tmp_path / "runs", *options))
    assert done.exit_code == 2 and not (tmp_path / "runs").exists()
    assert f"pip install 'synthetic-reasoning-lab[{engine}]'" in done.stderr


def test_engines_need_their_packages_only_when_they_run() -> None:
    code = "import sys, lab.runs.engines as e; from lab.registry import names; [e.own_options(n) for n in names('engines')]"
    check = "assert not {'ray', 'submitit', 'torch'} & set(sys.modules); print(names('engines'))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {check}"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "['local', 'ray', 'slurm']", done.stderr


def test_own_options_are_in_the_help() -> None:
    done = CliRunner().invoke(main, ["sweep", "parity", "--help"])
    for name in registry.names("engines"):
        for option in engines.own_options(name):
            assert f"--{option}" in done.stdout and f"Only with --engine {name}" in done.stdout


@LINUX
@pytest.mark.skipif(NO_SUBMITIT, reason="needs submitit")
def test_a_preempted_job_is_put_back_and_goes_on(tmp_path: Path) -> None:
    """On submitit's local executor: a process that controls the one of the job."""
    (e,) = grid("steps=800")
    folder = Folder(tmp_path, e)
    events = slurm.drive("local", [order(e, tmp_path)], None, 0)
    assert next(events) == []
    until(lambda: in_the_middle(folder))
    (logs,) = tmp_path.glob(".slurm-*")
    assert logs.stat().st_mode & 0o777 == 0o700, "what submitit unpickles is the user's alone"
    (control,) = children(os.getpid(), "submitit.local._local")
    (job,) = children(control, "submitit.core._submit")
    os.kill(job, signal.SIGUSR2)
    until(lambda: set(children(control, "submitit.core._submit")) - {job})
    assert [end for ends in events for end in ends] == [(0, None)]
    assert load(folder.path).scores
    assert [step for step, _ in losses(folder)] == list(range(10, 801, 10))
    assert not logs.exists(), "gone when all went well"


@pytest.mark.skipif(NO_SUBMITIT, reason="needs submitit")
def test_submitit_tells_a_failure_from_a_crash(tmp_path: Path) -> None:
    bad, crash = grid("lr=1e18,2e-3", "steps=60")
    orders = [order(bad, tmp_path), order(crash, tmp_path, "nothing")]
    ended = dict(end for ends in slurm.drive("local", orders, None, 1) for end in ends)
    assert ended[0] and ended[0].startswith("the loss is")
    assert ended[1] and ended[1].startswith("a run crashed (2 tries): RuntimeError: ")
    (logs,) = tmp_path.glob(".slurm-*")  # kept for the crash
    assert str(logs) in ended[1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ray with two nodes of one CPU on this machine, open to this test alone."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # all read when ray is imported
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.second = made.add_node(num_cpus=1)
    try:
        yield made
    finally:
        made.shutdown()


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_ray_loses_a_node_and_each_run_is_made_once(cluster: Any, tmp_path: Path) -> None:
    texts = ("lr=1e-3,2e-3", "steps=3000")
    folders = [Folder(tmp_path / "ray", e) for e in grid(*texts, seeds=3)]
    options = [*(f"--grid={text}" for text in texts), "--seeds", "3", "--json"]
    options += ["--engine", "ray", "--address", cluster.address]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *command(tmp_path / "ray", *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: sum(map(in_the_middle, folders)) == 2)  # one on each node
    begun = [folder for folder in folders if in_the_middle(folder)]
    cluster.remove_node(cluster.second, allow_graceful=False)
    assert len([folder for folder in begun if in_the_middle(folder)]) == 2, "both were under way"
    stdout, stderr = process.communicate(timeout=400)
    assert process.returncode == 0 and not stderr, stderr
    assert len(json.loads(stdout)["runs"]) == len(folders) == 6
    for folder in folders:
        run(folder.experiment, tmp_path / "unbroken")
        assert losses(folder) == losses(Folder(tmp_path / "unbroken", folder.experiment))


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_ray_stops_and_goes_on_in_a_cluster_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (e,) = grid("steps=20000")
    folder = Folder(tmp_path, e)
    options = ["--grid", "steps=20000", "--engine", "ray", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *command(tmp_path, *options)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)},
    )
    until(lambda: in_the_middle(folder))
    process.send_signal(signal.SIGTERM)
    says = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and "Stopped at step" in says
    saved = max(folder.checkpoints.glob("step-*")).name
    assert int(saved.removeprefix("step-")) % 50 != 0, "it saved where it stood"
    done = CliRunner().invoke(main, ["list", "runs", "--out", str(tmp_path)])
    assert "interrupted" in done.stdout


def answers() -> bool:
    if shutil.which("sbatch") is None or NO_SUBMITIT:
        return False
    return subprocess.run(["sinfo"], capture_output=True).returncode == 0


@pytest.mark.slurm
@pytest.mark.skipif(not answers(), reason="no SLURM answers here")
def test_slurm_preempts_and_a_job_crashes(tmp_path: Path) -> None:
    """One job is told that its node is wanted, the process of another is killed."""
    texts = ("lr=1e-3,2e-3", "steps=5000")
    folders = [Folder(tmp_path / "slurm", e) for e in grid(*texts)]
    options = [f"--grid={text}" for text in texts]
    options += ["--engine", "slurm", "--minutes", "30", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *command(tmp_path / "slurm", *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: all(map(in_the_middle, folders)))
    queue = ["squeue", "--me", "--array", "--noheader", "--name=lab-sweep", "--format=%i"]
    jobs = sorted(subprocess.run(queue, capture_output=True, text=True, check=True).stdout.split())
    assert len(jobs) == 2 and jobs[0].endswith("_0")
    subprocess.run(["scancel", jobs[0], "--signal", "USR2"])
    subprocess.run(["scancel", jobs[1], "--signal", "KILL"])
    stdout, stderr = process.communicate(timeout=500)
    assert process.returncode == 0 and not stderr, stderr
    assert len(json.loads(stdout)["runs"]) == 2
    assert not list((tmp_path / "slurm").glob(".slurm-*"))
    for folder in folders:
        run(folder.experiment, tmp_path / "unbroken")
        assert losses(folder) == losses(Folder(tmp_path / "unbroken", folder.experiment))
