"""The commands on generators: show and check."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.commands import OWN, invoke_in, sentence


def test_check_marks_every_property(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "check", "parity", "--examples", "20")
    assert done.exit_code == 0 and "every property holds" in done.stdout
    assert done.stdout.count("ok  ") >= 12 and "FAIL" not in done.stdout


def test_check_a_users_file_and_its_faults(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(OWN)
    assert invoke_in(tmp_path, "check", "last.py", "--examples", "20").exit_code == 0
    (tmp_path / "bad.py").write_text(OWN.replace("[prompt[0]]", "[prompt[-1]]"))
    done = invoke_in(tmp_path, "check", "bad.py", "--examples", "50")
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    failing = done.stdout[done.stdout.index("FAIL") :]
    message = r"rows of length 2: row 0 has .* wrong: prompt '(0 1|1 0)' has answer '.', solve says"
    assert re.search(message, failing)
    document = json.loads(
        invoke_in(tmp_path, "check", "bad.py", "--json", "--examples", "50").stdout
    )
    assert sum(row["holds"] is False for row in document["properties"]) == 1


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("import nothing_like_this", 2, "(broken.py, line 1, in <module>)"),
        ("x = 1", 2, "must define exactly one public subclass of tasks.Task, it defines 0"),
        (OWN.replace("bits[:, :1]", "bitz"), 1, "sample raises NameError"),
        (OWN.replace('split: str = "train"', "split: str"), 2, "TypeError"),
    ],
)
def test_broken_files(text: str, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(text)
    assert message in sentence(invoke_in(tmp_path, "check", "broken.py"), code)


def test_check_takes_options(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "check", "parity", "--set", "k=0.5", "--examples", "10")
    assert done.exit_code == 0 and "k=0.5" in done.stdout
    assert "k = 0" in sentence(invoke_in(tmp_path, "check", "parity", "--set", "k=0"), 2)


def test_show_json_gives_the_hidden_set_away(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "show", "parity", "--cot", "-n", "400", "--json")
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
    done = invoke_in(tmp_path, "show", "parity", "-n", "1", "--set", "k=2", "--length", "4")
    legend, words, letters = done.stdout.splitlines()[-3:]
    assert "thought (t)" in legend
    assert letters.split() == list("pppp") + list("tt") + ["A"] and len(words.split()) == 7
    bare = invoke_in(tmp_path, "show", "parity", "-n", "1", "--no-cot", "--split", "test")
    assert "t" not in bare.stdout.splitlines()[-1]


def test_colours_go_by_role(tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "show", "parity", "-n", "1", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[36m" in done.stdout and "\x1b[1;32m" in done.stdout


def test_show_draws_graphs_and_tapes(tmp_path: Path) -> None:
    """The picture says the same as the row: neighbours from its edges, tapes from its steps."""
    done = invoke_in(tmp_path, "show", "istree", "-n", "3", "--length", "6")
    rows, pictures = [], []
    for line in done.stdout.splitlines()[1:]:
        if line.startswith("[BOS]"):
            rows.append(line.split("[EOS]")[0].split()[1:])
            pictures.append({})  # type: ignore[var-annotated]
        elif line.startswith("    "):
            node, near = line.strip().split(": ")
            pictures[-1][node] = near.split()
    assert len(rows) == 3
    for edges, picture in zip(rows, pictures, strict=True):
        near: dict[str, list[str]] = {}
        for u, v in zip(edges[::3], edges[2::3], strict=True):
            near.setdefault(u, []).append(v)
            near.setdefault(v, []).append(u)
        assert picture == near
    done = invoke_in(tmp_path, "show", "addition", "-n", "1", "--length", "2")
    tapes = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert len(tapes) == 4 and "+" in tapes[0]
    first, second = ("".join(part.split()) for part in tapes[0].split("+"))
    assert int("".join(tapes[-1].split())) == int(first) + int(second)


def test_cases_beyond_reason_are_refused(tmp_path: Path) -> None:
    line = sentence(invoke_in(tmp_path, "check", "parity", "--examples", "1000000000"), 2)
    assert "--examples" in line and "1<=x<=100000" in line
