"""The SLURM engine: on submitit's processes of this machine, and on a SLURM (-m slurm).

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
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.results.folder import Folder, load
from lab.runs.engines import JobResult, slurm
from lab.runs.run import run
from tests.engines import in_the_middle, job, losses, sweep, tiny, until
from tests.processes import LINUX, children
from tests.profiles import NIGHTLY

NO_SUBMITIT = importlib.util.find_spec("submitit") is None


def ended(tmp_path: Path, result: object = None, stderr: str | None = None) -> Any:
    """A job of submitit that has ended. result: what it returned or raised; None: no result."""
    pickle = tmp_path / "result"
    if result is not None:
        pickle.touch()
    error = result if isinstance(result, Exception) else None
    return SimpleNamespace(
        paths=SimpleNamespace(result_pickle=pickle),
        exception=lambda: error,
        result=lambda: result,
        stderr=lambda: stderr,
    )


def test_how_a_job_ended(tmp_path: Path) -> None:
    killed = ended(tmp_path, stderr="one\n\nslurmstepd: killed\n")
    assert slurm._outcome(killed) == ("slurmstepd: killed", [])
    assert slurm._outcome(ended(tmp_path)) == ("no output", [])
    results = [JobResult(0, "the loss is nan")]
    assert slurm._outcome(ended(tmp_path, results)) == ("", results)
    trace = Exception("Traceback\n  line 3\nRuntimeError: no device\nsee the log")
    assert slurm._outcome(ended(tmp_path, trace)) == ("RuntimeError: no device", [])


@LINUX
@pytest.mark.skipif(NO_SUBMITIT, reason="needs submitit")
def test_a_preempted_job_is_put_back_and_goes_on(tmp_path: Path) -> None:
    """On submitit's local executor: a process that controls the one of the job. The job has two
    runs and is told when the second one is under way."""
    e = tiny(3000)
    folder = Folder(tmp_path, e)
    short = tiny(20)
    jobs = [job(short, tmp_path), job(e, tmp_path)]
    events = slurm.drive("local", jobs, None, 0, pack=2)
    assert next(events) == []
    until(lambda: in_the_middle(folder))
    (logs,) = tmp_path.glob(".slurm-*")
    assert logs.stat().st_mode & 0o777 == 0o700, "what submitit unpickles is the user's alone"
    (control,) = children(os.getpid(), "submitit.local._local")
    (first,) = children(control, "submitit.core._submit")
    os.kill(first, signal.SIGUSR2)
    until(lambda: set(children(control, "submitit.core._submit")) - {first})
    assert [end[:2] for ends in events for end in ends] == [(0, None), (1, None)]
    assert load(folder.path).scores
    assert [step for step, _ in losses(folder)] == list(range(10, 3001, 10))
    assert not logs.exists(), "gone when all went well"


@pytest.mark.skipif(NO_SUBMITIT or not NIGHTLY, reason="nightly, with submitit")
def test_submitit_tells_a_failure_from_a_crash(tmp_path: Path) -> None:
    bad, crash = tiny(lr=1e18), tiny(lr=2e-3)
    jobs = [job(bad, tmp_path), job(crash, tmp_path, "nothing")]
    results = dict(end[:2] for ends in slurm.drive("local", jobs, None, 1) for end in ends)
    assert results[0] and results[0].startswith("the loss is")
    assert results[1] and results[1].startswith("a run ended with code 1: RuntimeError: ")
    assert results[1].endswith(" (2 tries)") and not list(tmp_path.glob(".slurm-*"))


def answers() -> bool:
    if shutil.which("sbatch") is None or NO_SUBMITIT:
        return False
    return subprocess.run(["sinfo"], capture_output=True).returncode == 0


@pytest.mark.slurm
@pytest.mark.skipif(not answers(), reason="no SLURM answers here")
def test_slurm_preempts_and_a_job_crashes(tmp_path: Path) -> None:
    """One job is told that its node is wanted, the process of another is killed."""
    rates = (1e-3, 2e-3)
    folders = [Folder(tmp_path / "slurm", tiny(5000, lr)) for lr in rates]
    options = ["--grid=lr=1e-3,2e-3", "--grid=steps=5000"]
    options += ["--engine", "slurm", "--minutes", "30", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *sweep(tmp_path / "slurm", *options)],
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
