"""`lab analyze --what NAME`: the same as from Python, help, and what is refused in words."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from lab import registry
from lab.analysis.subject import open_run
from lab.config.fields import describe
from tests.commands import invoke, sentence

# What makes it possible for the small model of these tests, which has one head.
SETS = {
    "ablation": {"by": "loss"},
    "neurons": {"top": (4, 8), "draws": 2},
    "overlap": {"other": "length=7", "top": 1},
    "patching": {},
}
NAMES = registry.names("analyses")


def sets(options: dict[str, object]) -> list[str]:
    texts = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in options.items()}
    return [word for name, text in texts.items() for word in ("--set", f"{name}={text}")]


@pytest.mark.parametrize("name", sorted(SETS))
def test_it_prints_what_python_finds(name: str, trained: list[Path]) -> None:
    analyze = registry.load("analyses", name)
    found = analyze(open_run(trained[0], rows=16), **SETS[name])
    words = ["analyze", str(trained[0]), "--what", name, "--rows", "16", *sets(SETS[name])]
    document = json.loads(invoke(*words, "--json").stdout)
    assert document["found"] == json.loads(json.dumps(dataclasses.asdict(found)))
    assert document["options"] == json.loads(json.dumps(SETS[name]))
    assert (document["analysis"], document["rows"], document["at"]) == (name, 16, "step-60")
    shown = invoke(*words)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].endswith("at step-60, 16 rows of held out (length 6)")
    assert lines[1 : 1 + len(found.sentences)] == list(found.sentences)
    heads = list(found.table[0])
    table = lines[1 + len(found.sentences) :]
    assert table[0].split("  ")[0].strip() == heads[0] and len(table) > len(found.table)
    told = [term.replace("_", " ") for term in found.terms if term in heads]
    assert [line.partition(":")[0] for line in table[1 + len(found.table) :]] == told


def test_help_names_the_analyses_and_their_options() -> None:
    text = " ".join(invoke("analyze", "--help").stdout.split())
    for name in NAMES:
        assert f" {name} " in text
        own = " ".join(invoke("analyze", "--what", name, "--help").stdout.split())
        _, *options = describe(registry.load("analyses", name))
        for info in options:
            assert info.help and f"{info.name} {info.help}" in own
            if info.range:
                assert info.range in own


def test_a_file_of_your_own(trained: list[Path], tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from dataclasses import dataclass\n"
        "from lab.analysis.finding import Finding\n"
        "@dataclass(frozen=True)\n"
        "class Rows(Finding):\n"
        "    rows: int\n"
        "    sentences = ('It counts rows.',)\n"
        "    table = ()\n"
        "def analyze(subject: object, more: int = 0):\n"
        "    return Rows(len(subject.batch) + more)\n"
    )
    words = ["analyze", str(trained[0]), "--what", str(mine), "--rows", "3", "--set", "more=2"]
    assert json.loads(invoke(*words, "--json").stdout)["found"] == {"rows": 5}
    assert invoke(*words).stdout.splitlines()[-1] == "It counts rows."


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--what", "copy_score"], "its answers are computed, not copied from the prompt"),
        (["--what", "ablation"], "its answers are computed, not copied from the prompt"),
        (["--what", "neuron"], "no analysis is named 'neuron': did you mean 'neurons'?"),
        (["--what", "neurons", "--set", "tops=1"], "the options of neurons are top, answer, wo"),
        (["--what", "neurons", "--set", "top=0"], "top = (0,) cannot be used: at least 1"),
        (["--what", "neurons", "--set", "top=many"], "it must be whole numbers separated"),
        (["--what", "neurons", "--set", "top=none"], "top = () cannot be used: numbers from 1 to"),
        (["--what", "overlap"], "other = '' cannot be used: a probe that is not the analyzed one"),
        (["--what", "overlap", "--set", "other=size=7"], "other = 'size=7' cannot be used"),
        (["--what", "overlap", "--set", "other=length=7"], "top = 2 cannot be used: from 1"),
        (
            ["--what", "patching", "--dependencies", "1"],
            "--dependencies does not apply to --what p",
        ),
        (["--set", "top=1"], "without --what there is no analysis to set it of"),
    ],
)
def test_what_is_refused(args: list[str], says: str, trained: list[Path]) -> None:
    assert says in sentence(invoke("analyze", str(trained[0]), "--rows", "8", *args), 2)


def test_every_analysis_says_where_it_comes_from() -> None:
    rows = json.loads(invoke("list", "analyses", "--json").stdout)
    assert all(re.fullmatch(r"\d{4}\.\d{5}", row["source"]) for row in rows)
