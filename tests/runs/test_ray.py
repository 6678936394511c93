"""The Ray engine on a cluster of two nodes of this machine, one of which is lost (-m ray)."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.cli.main import main
from lab.results.folder import Folder
from lab.runs.run import run
from tests.engines import in_the_middle, losses, sweep, tiny, until


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
    runs = [tiny(3000, lr, seed) for lr in (1e-3, 2e-3) for seed in range(3)]
    folders = [Folder(tmp_path / "ray", e) for e in runs]
    options = ["--grid=lr=1e-3,2e-3", "--grid=steps=3000", "--seeds", "3", "--json"]
    options += ["--engine", "ray", "--address", cluster.address]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *sweep(tmp_path / "ray", *options)],
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
    folder = Folder(tmp_path, tiny(20000))
    options = ["--grid", "steps=20000", "--engine", "ray", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *sweep(tmp_path, *options)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)},
    )
    until(lambda: in_the_middle(folder))
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and "Stopped at step" in message
    saved = max(folder.checkpoints.glob("step-*")).name
    assert int(saved.removeprefix("step-")) % 50 != 0, "it saved where it stood"
    done = CliRunner().invoke(main, ["list", "runs", "--out", str(tmp_path)])
    assert "interrupted" in done.stdout
