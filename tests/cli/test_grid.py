"""The grid of `lab sweep`: a product of values and seeds; bad grids are refused before a run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.cli.experiment import MOST
from lab.cli.grid import axis, combinations, spread
from lab.config import Experiment
from lab.config.experiment import change
from lab.experiments.parity import experiment
from tests.commands import grid, invoke, sentence

small = st.integers(-50, 50)
pieces = st.lists(small | st.tuples(small, st.integers(0, 20)), min_size=1, max_size=5)


@given(pieces)
def test_commas_separate_values_and_ranges(parts: list[int | tuple[int, int]]) -> None:
    text = ",".join(str(p) if isinstance(p, int) else f"{p[0]}..{p[0] + p[1]}" for p in parts)
    meant: list[int] = []
    for p in parts:
        meant += [p] if isinstance(p, int) else range(p[0], p[0] + p[1] + 1)
    assert [int(value) for value in spread("k", text, int)] == meant
    assert [float(value) for value in spread("k", text, float | None)] == meant


@given(st.lists(st.lists(st.integers(1, 99), min_size=1), min_size=2, unique_by=tuple))
def test_semicolons_separate_lists(lists: list[list[int]]) -> None:
    text = ";".join(",".join(map(str, one)) for one in lists)
    assert axis(experiment, f"train.lengths={text}").values == tuple(map(tuple, lists))


ks = st.lists(st.integers(1, 6), min_size=1, unique=True)
cots = st.sampled_from([["true"], ["false"], ["true", "false"]])
rates = st.lists(st.sampled_from(["1e-3", "0.01", "3e-4"]), min_size=1, unique=True)


@settings(max_examples=15)
@given(ks, cots, rates, st.integers(1, 3))
def test_every_combination_with_every_seed(
    k: list[int], cot: list[str], lr: list[str], seeds: int
) -> None:
    texts = [f"task.k={','.join(map(str, k))}", f"cot={','.join(cot)}", f"lr={','.join(lr)}"]
    chosen = combinations(experiment, grid(*texts, seeds=seeds))
    meant = []
    for options in itertools.product(map(str, k), cot, lr):
        one = experiment()
        for path, text in zip(("task.k", "cot", "train.lr"), options, strict=True):
            one = change(one, path, text)
        meant.append([change(one, "train.seed", str(seed)) for seed in range(seeds)])
    assert [list(c.experiments) for c in chosen] == meant
    assert (
        len({e.slug for c in chosen for e in c.experiments}) == len(k) * len(cot) * len(lr) * seeds
    )


def test_an_experiments_option_moves_all_that_it_moves_in_lab_run() -> None:
    for one in combinations(experiment, grid("length=10,20", k="3")):
        (e,) = one.experiments
        length = one.values["length"]
        assert e == experiment(length=length, k=3)
        assert e.train.lengths == (length,) and {p.length for p in e.probes} == {length}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["k"], "it needs the form PATH=VALUE, such as task.k=1..4"),
        (["kk=1,2"], "an option ("),
        (["task.q=1"], "the fields of task are k, "),
        (["k=1,x"], "k = 'x' cannot be used"),
        (["k=1,,2"], "a value is missing"),
        (["k=4..1"], "a..b goes up"),
        (["k=1..999999999999"], f"by at most {MOST} values"),
        (["k=1..200", "secret=0..200"], f"at most {MOST}"),
        (["k=1..3,2"], "2 is given twice"),
        (["lr=1e-3,0.001"], "0.001 is given twice"),
        (["k=1", "k=2"], "--grid k=2 cannot be used: --grid k=1 sets task.k too"),
        (["k=1", "task.k=2"], "--grid task.k=2 cannot be used: --grid k=1 sets task.k too"),
        (["seed=0..4"], "--seeds gives every combination its seeds"),
        (["lengths=1..4"], "separate lists by semicolons, such as 1..4;1..8"),
        (["cot=true,maybe"], "cot = 'maybe' cannot be used"),
        (["optimizer=adamw,adam"], "optimizer = 'adam' cannot be used"),
        (["preset=gpt5"], "preset = 'gpt5' cannot be used"),
        (["length=2,20", "k=2..4"], "length=2 k=3: k = 3 cannot be used: at most the length, 2"),
        (["heads=1,3"], "heads=3: model.heads = 3 cannot be used"),
    ],
)
def test_a_bad_grid_is_one_sentence_and_makes_nothing(
    texts: list[str], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    done = invoke("sweep", "parity", "--out", str(out), *(f"--grid={text}" for text in texts))
    assert message in sentence(done, 2)
    assert not out.exists()


@pytest.mark.parametrize("option", [["--k", "3"], ["--set", "k=3"]])
def test_an_option_that_is_in_the_grid_too(option: list[str]) -> None:
    done = invoke("sweep", "parity", "--grid", "k=1,2", *option)
    assert done.exit_code == 2 and "--grid k=1,2 cannot be used: --" in done.stderr


def test_two_combinations_that_are_one_run() -> None:
    def odd(k: int = 1) -> Experiment:
        """Is k odd?

        k: any number
        """
        return experiment(k=1 + k % 2)

    with pytest.raises(ValueError, match="'k=3' cannot be used: it is the same run as k=1"):
        combinations(odd, grid("k=1,3"))
