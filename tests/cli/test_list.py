"""`lab list`: names of every kind, and runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

import lab
import tasks
from lab import registry
from lab.results.folder import Folder
from lab.verdicts.records import records, records_folder
from tests.commands import invoke, invoke_in, sentence, terminal
from tests.figure_runs import base, finished


def test_names_of_every_kind() -> None:
    for kind in ("tasks", "experiments", "claims", "mixers", "engines", "analyses"):
        names = tasks.names() if kind == "tasks" else registry.names(kind)
        rows = json.loads(invoke("list", kind, "--json").stdout)
        assert [row["name"] for row in rows] == names
        lines = invoke("list", kind).stdout.splitlines()[1:]
        for row, line in zip(rows, lines, strict=False):  # one line each in a pipe
            assert line.split()[0] == row["name"] and row["sentence"] in line
            assert row["sentence"][-1] in ".?" and row["source"] in line


def test_every_task_names_its_source() -> None:
    rows = json.loads(invoke("list", "tasks", "--json").stdout)
    sources = {row["name"]: row["source"] for row in rows}
    assert all(re.fullmatch(r"\d{4}\.\d{5}", number) for number in sources.values())
    assert sources["parity"] == "2410.05459" and sources["flipflop"] == "2306.00946"


def test_claims_are_listed_with_their_verdicts() -> None:
    rows = json.loads(invoke("list", "claims", "--json").stdout)
    recorded = records(records_folder())
    assert recorded
    for row in rows:
        own = [f"{r['verdict']} ({r['scale']})" for r in recorded if r["claim"] == row["name"]]
        assert row["verdict"] == ", ".join(own)


def test_only_runs_are_filtered(tmp_path: Path) -> None:
    assert "only runs are filtered" in sentence(invoke("list", "tasks", "--where", "k=1"), 2)
    assert "No runs under runs" in invoke_in(tmp_path, "list", "runs").stdout


@pytest.mark.parametrize("text", ["k", "=3"])
def test_where_needs_a_path_and_a_value(text: str, tmp_path: Path) -> None:
    done = invoke_in(tmp_path, "list", "runs", "--where", text)
    assert f"--where = {text!r} cannot be used" in sentence(done, 2)


def runs(out: Path) -> dict[str, Path]:
    """A sound run, and one of each kind that cannot be read, by its kind."""
    sound = Path(finished(out, base(), whole=True).run)
    made = {"sound": sound}
    for kind in ("begun", "no_json", "no_config", "pipe", "link"):
        made[kind] = out / kind
        shutil.copytree(sound, made[kind])
    (made["begun"] / "result.json").unlink()
    (made["no_json"] / "result.json").write_text("{")
    (made["no_config"] / "config.json").write_text("[]")
    (made["pipe"] / "result.json").unlink()
    os.mkfifo(made["pipe"] / "result.json")
    (made["link"] / "config.json").unlink()
    (made["link"] / "config.json").symlink_to(sound / "config.json")
    return made


def test_what_cannot_be_read_is_left_out_with_a_line(tmp_path: Path) -> None:
    made = runs(tmp_path / "runs")
    done = invoke_in(tmp_path, "list", "runs", "--json")
    told = json.loads(done.stdout)
    assert [run["run"] for run in told["complete"]] == [f"runs/{made['sound'].name}"]
    assert told["unfinished"] == ["begun"]
    lines = done.stderr.splitlines()
    starts = [line.partition(":")[0] for line in lines]
    assert sorted(starts) == [f"skipped runs/{k}" for k in ("link", "no_config", "no_json", "pipe")]
    assert "config.json is no regular file" in lines[0]
    assert "its result.json cannot be read: runs/pipe/result.json is no regular" in lines[-1]
    with_tables = invoke_in(tmp_path, "list", "runs")
    assert with_tables.exit_code == 0 and with_tables.stderr == done.stderr


@pytest.mark.parametrize("command", [["plot", "--to", "x.svg"], ["report"]])
def test_patterns_leave_out_what_cannot_be_read(command: list[str], tmp_path: Path) -> None:
    made = runs(tmp_path / "runs")
    done = invoke_in(tmp_path, *command, "runs/*")
    assert done.exit_code == 0 and done.stdout
    skipped = [line for line in done.stderr.splitlines() if line.startswith("skipped")]
    assert [line.partition(":")[0] for line in skipped] == [
        f"skipped runs/{kind}" for kind in ("begun", "no_json", "pipe")
    ]
    assert "skipped runs/begun: this run is not complete" in done.stderr
    shutil.rmtree(made["sound"])
    shutil.rmtree(made["no_config"])  # these two have a sound result.json
    shutil.rmtree(made["link"])
    done = invoke_in(tmp_path, *command, "runs/*")
    assert done.stderr.endswith("Error: none of the 3 runs can be read\n") and done.exit_code == 2


def test_python_warns_of_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = runs(Path("runs"))
    shutil.rmtree(made["pipe"])
    with pytest.warns(UserWarning, match="skipped runs/no_json: its result.json cannot be read"):
        results = lab.load("runs")
    assert len(results) == 3
    with pytest.raises(ValueError, match=r"'runs/no_json' cannot be used: its result\.json"):
        lab.load("runs/no_json")
    with pytest.raises(ValueError, match="this run is not complete"):
        lab.load("runs/begun")


EVIL = "\x1b[31m[bold][/nope][link=http://x]=1+1\n\u202e$x^{"


def test_text_of_a_run_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tables, sentences, reports and figures: no markup, no control character, no formula."""
    monkeypatch.chdir(tmp_path)
    probes = tuple(dataclasses.replace(p, label=EVIL) for p in base().probes)
    run = Path(finished(Path("runs"), dataclasses.replace(base(), probes=probes), whole=True).run)
    for path in (run / "config.json", run / "result.json"):
        data = json.loads(path.read_text())
        data.pop("seal", None)
        (data if path.name == "config.json" else data["experiment"])["name"] = EVIL
        path.write_text(json.dumps(data))
    renamed = run.rename(run.with_name("x[bold]\x1b"))
    spelled = r"\x1b[31m[bold][/nope][link=http://x]=1+1\n\u202e$x^{"
    for args in (["list", "runs"], ["report", str(renamed)]):
        told = invoke_in(tmp_path, *args, COLUMNS="300").stdout
        assert spelled in told and "\x1b" not in told and "\u202e" not in told
    assert r"x[bold]\x1b" in invoke("list", "runs").stdout
    assert invoke("plot", str(renamed), "--kind", "length", "--to", "x.svg").exit_code == 0
    assert "\u202e" not in Path("x.svg").read_text()


def test_a_run_that_is_made_now_is_running(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "runs", base())
    folder.open()
    told = invoke_in(tmp_path, "list", "runs").stdout
    assert "interrupted" in told and "running" not in told
    with FileLock(folder.lock):
        assert "running" in invoke_in(tmp_path, "list", "runs").stdout
        document = json.loads(invoke_in(tmp_path, "list", "runs", "--json").stdout)
        assert document["running"] == document["unfinished"] == [folder.path.name]
    assert "interrupted" in invoke_in(tmp_path, "list", "runs").stdout


@pytest.mark.parametrize(
    "words", [("list", "claims"), ("list", "mixers"), ("show", "compose_translation", "-n", "1")]
)
def test_a_terminal_wraps_between_words_and_a_pipe_does_not(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """The words are the same in both; a listing leaves out the paper that has a column already."""
    shown, whole = terminal(*words, cwd=tmp_path), invoke_in(tmp_path, *words).stdout.splitlines()
    assert max(map(len, shown)) <= 80 < max(map(len, whole))
    parts = [
        {word.strip(".") for line in lines for word in line.split()} for lines in (shown, whole)
    ]
    assert parts[0] <= parts[1], "no word is cut"


def test_a_row_of_runs_is_a_line_in_a_pipe(trained: list[Path], tmp_path: Path) -> None:
    columns = "run,name,model.layers,model.position,train.optimizer,train.schedule,task.name,exact"
    out = str(trained[0].parent)
    told = invoke_in(tmp_path, "list", "runs", "--out", out, "--columns", columns).stdout
    assert len(told.splitlines()) == 2 and str(trained[0]) in told
    assert max(map(len, terminal("list", "runs", "--out", out, cwd=tmp_path))) <= 80


@pytest.mark.parametrize("words", ["check copy --examples 2", "list tasks", "show parity -n 1"])
def test_a_dumb_terminal_gets_no_colours(words: str, tmp_path: Path) -> None:
    lines = terminal(*words.split(), cwd=tmp_path, TERM="dumb")
    assert lines and not any("\x1b" in line for line in lines)
