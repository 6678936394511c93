"""Options made from fields: what --help and --help-all show, what completion offers, `build`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

import tasks
from lab import registry
from lab.cli.main import main
from lab.cli.options import build
from lab.config import ModelConfig, TrainConfig
from lab.config.fields import describe
from lab.experiments.parity import experiment
from tests.commands import invoke


def options(*args: str) -> set[str]:
    """The options that begin a line of a help text."""
    return set(re.findall(r"^  (?:-h, )?(--[a-z0-9-]+)", invoke(*args).stdout, re.MULTILINE))


def subcommand(group: str, name: str = "parity") -> click.Command:
    command = main.commands[group].get_command(click.Context(main), name)  # type: ignore[attr-defined]
    assert isinstance(command, click.Command)
    return command


USED = "--layers --width --heads --position --steps --batch --optimizer --lr --schedule --seed"
USED += " --eval-every --seeds --set --from --out --device --json --help --help-all"
OWN = "--scale --cot --length --k --noise --secret"


def test_help_shows_the_experiments_own_options_and_those_that_people_use() -> None:
    assert options("run", "parity", "--help") == {*OWN.split(), *USED.split()}
    more = {"--grid", "--workers", "--engine"}
    assert options("sweep", "parity", "--help") == {*OWN.split(), *USED.split(), *more}
    text = re.sub(r"\s+", " ", invoke("run", "parity", "--help").stdout)
    assert "[default: 400; at least 1]" in text, "the experiment's own default and the range"
    assert "lab run parity --help-all" in text


@pytest.mark.parametrize("group", ["run", "sweep"])
def test_help_all_shows_every_option_with_a_sentence(group: str) -> None:
    shown = options(group, "parity", "--help-all")
    fields = {info.name for cls in (ModelConfig, TrainConfig) for info in describe(cls)}
    assert {"--" + name.replace("_", "-") for name in fields} <= shown
    params = [p for p in subcommand(group).params if isinstance(p, click.Option)]
    assert {p.opts[0] for p in params} <= shown
    for param in params:
        text = (param.help or "").partition("[default")[0].strip()
        assert len(text.split()) >= 2, f"{param.name} is not explained: {text!r}"


@pytest.mark.parametrize("group", ["run", "sweep"])
@pytest.mark.parametrize("which", ["--help", "--help-all"])
def test_help_fits_80_columns(group: str, which: str) -> None:
    for name in ("parity", "recall"):
        for line in invoke(group, name, which).stdout.splitlines():
            assert len(line) <= 80, line


def test_all_options_are_accepted_whatever_help_shows(tmp_path: Path) -> None:
    for param in subcommand("run").params:
        if isinstance(param, click.Option) and param.type is click.STRING and not param.multiple:
            error = invoke("run", "parity", param.opts[0], "%", "--out", str(tmp_path)).stderr
            assert "No such option" not in error and "'%'" in error, param.name


def completions(*args: str) -> list[str]:
    """What the shell is offered after these words, the last one being typed."""
    complete = ShellComplete(main, {}, "lab", "_LAB_COMPLETE")
    *before, incomplete = args
    return [item.value for item in complete.get_completions(list(before), incomplete)]


def test_completion_of_names_and_choices() -> None:
    names = sorted({*registry.names("experiments"), *tasks.names()})
    for group in ("run", "sweep"):
        assert completions(group, "") == names
        assert completions(group, "par") == ["parity"]
        assert completions(group, "parity", "--optimizer", "s") == ["sgd", "signum", "soap"]
        assert completions(group, "parity", "--scale", "") == ["cpu", "gpu"]
        assert completions(group, "parity", "--preset", "mamba-1") == ["mamba-1m"]
        assert completions(group, "parity", "--eval-") == [
            "--eval-every",
            "--eval-rows",
            "--eval-answers",
        ]
    assert completions("run", "nothing", "--optimizer", "x") == [], "an unknown name is no crash"
    complete = ShellComplete(main, {}, "lab", "_LAB_COMPLETE")
    assert [item.type for item in complete.get_completions(["run"], "./my")] == ["file"]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import lab.cli.run, lab.cli.sweep, lab.cli.experiment", "numpy"),
        ("import lab.cli.options, lab.cli.grid, lab.experiments._make", "torch"),
        ("from tests.commands import invoke; invoke('run', '--help')", "torch"),
        ("from tests.commands import invoke; invoke('run', 'parity', '--help')", "torch"),
    ],
)
def test_help_is_light(code: str, absent: str) -> None:
    code = f"import sys; {code}; assert {absent!r} not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_build_parses_texts_and_applies_sets_last() -> None:
    given = {"k": "3", "lr": "3e-4", "lengths": "1..3", "cot": False, "prompt_repeats": 2}
    made = build(experiment, given, ["train.lr=0.5", "task.noise = 0.1"])
    assert (made.task.k, made.task.noise, made.cot) == (3, 0.1, False)  # type: ignore[attr-defined]
    assert (made.train.lr, made.train.lengths, made.prompt_repeats) == (0.5, (1, 2, 3), 2)
    assert build(experiment, {"preset": "gpt2-2", "heads": "2"}, []).model.width == 720
