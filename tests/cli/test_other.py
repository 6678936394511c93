"""Commands that are neither run nor sweep, through real processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.commands import process as lab
from tests.commands import sentence


def test_show_json_gives_the_hidden_set_away(tmp_path: Path) -> None:
    done = lab("show", "parity", "--cot", "-n", "400", "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 400
    assert all(row["roles"] == [1] * 20 + [2] * 6 + [3] for row in rows)
    bits = np.array([row["tokens"][:20] for row in rows])
    system = np.concatenate([bits, [[x["tokens"][-1]] for x in rows]], 1)
    for rank, column in enumerate(range(20)):  # a pivot for every column
        pivot = rank + int(system[rank:, column].argmax())
        assert system[pivot, column], "not determined"
        system[[rank, pivot]] = system[[pivot, rank]]
        others = system[:, column].astype(bool)
        others[rank] = False
        system[others] ^= system[rank]
    support = np.flatnonzero(system[:20, -1])
    assert not system[20:, -1].any() and len(support) == rows[0]["task"]["k"] == 6
    for row in rows:
        steps = np.bitwise_xor.accumulate(np.array(row["tokens"])[support]).tolist()
        assert row["tokens"][20:] == [0, *steps]
        assert row["words"].split() == [str(t) for t in row["tokens"]]


def test_show_without_colour_gives_roles_by_letter(tmp_path: Path) -> None:
    done = lab("show", "parity", "-n", "1", "--set", "k=2", "--length", "4", cwd=tmp_path)
    legend, words, letters = done.stdout.splitlines()
    assert "thought (t)" in legend
    assert letters.split() == list("pppp") + list("tt") + ["A"] and len(words.split()) == 7
    bare = lab("show", "parity", "-n", "1", "--no-cot", "--split", "test", cwd=tmp_path)
    assert "t" not in bare.stdout.splitlines()[-1]


def test_colours_go_by_role(tmp_path: Path) -> None:
    done = lab("show", "parity", "-n", "1", cwd=tmp_path, FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[36m" in done.stdout and "\x1b[1;32m" in done.stdout


def test_another_package_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    done = lab("list", "tasks", cwd=tmp_path)
    assert "hides the lab's own" in sentence(done, 1)


def test_doctor_and_lists(tmp_path: Path) -> None:
    found = json.loads(lab("doctor", "--json", cwd=tmp_path).stdout)
    assert {"torch", "triton", "cores", "GPU"} <= set(found)
    assert "parity" in lab("list", "tasks", cwd=tmp_path).stdout.split()
    assert "attention" in json.loads(lab("list", "mixers", "--json", cwd=tmp_path).stdout)
    assert "No runs under runs" in lab("list", "runs", cwd=tmp_path).stdout
