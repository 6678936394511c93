"""`lab list`: names of every kind, and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tasks
from lab import registry
from tests.commands import invoke, invoke_in, sentence


def test_names_of_every_kind() -> None:
    assert invoke("list", "tasks").stdout.split() == tasks.names()
    assert json.loads(invoke("list", "mixers", "--json").stdout) == registry.names("mixers")
    assert invoke("list", "claims").stdout.split() == registry.names("claims")
    assert invoke("list", "experiments").stdout.split() == registry.names("experiments")


def test_only_runs_are_filtered(tmp_path: Path) -> None:
    assert "only runs are filtered" in sentence(invoke("list", "tasks", "--where", "k=1"), 2)
    assert "No runs under runs" in invoke_in(tmp_path, "list", "runs").stdout


@pytest.mark.parametrize("text", ["k", "=3"])
def test_where_needs_a_path_and_a_value(text: str, tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "list", "runs", "--where", text)
    assert f"--where = {text!r} cannot be used" in sentence(done, 2)
