"""A user's own task: what is wrong is said in one sentence, with file, line and function."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import OWN, invoke, sentence

SMALL = ("--steps", "2", "--batch", "4", "--width", "16", "--length", "4")
RETURN = "        return Batch(tokens, np.broadcast_to(roles, tokens.shape))"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def own(new: str, old: str = RETURN) -> int:
    """Write last.py, a task with one fault. Returns the number of the line of the fault."""
    assert OWN.count(old) == 1
    text = OWN.replace(old, new)
    Path("last.py").write_text(text)
    return text[: text.index(new)].count("\n") + 1


BIG = "        if n > 1: raise KeyError(n)\n"  # only for whole blocks of rows


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("        return bits[:, 99]", "in sample: IndexError: index 99 is out of bounds"),
        ("        return int('x')", "in sample: ValueError: invalid literal"),
    ],
)
@pytest.mark.parametrize("command", ["run", "show", "sweep"])
def test_an_error_names_file_line_and_function(command: str, fault: str, says: str) -> None:
    line = own(fault)
    more = {"run": SMALL, "show": (), "sweep": ("--grid", "lr=1e-3", *SMALL)}[command]
    told = sentence(invoke(command, "last.py", *more), 2)
    assert f"last.py line {line} in sample: " in told and says in told
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("        return tokens", "it must return a tasks.Batch, not ndarray"),
        (
            "        return Batch(tokens.tolist(), tokens)",
            "tokens must be an integer array [n, T], n",
        ),
        (
            "        return Batch(tokens, roles)",
            "roles must be an integer array [n, T], not uint8 of",
        ),
        ("        return Batch(tokens * 1.0, tokens)", "[n, T], not float64 of shape (1, 5)"),
        ("        return Batch(tokens, tokens[:, 1:])", "one shape [n, T], not (1, 5) and (1, 4)"),
        (RETURN + "[:0]", "it must return 1 rows, not 0"),
        (RETURN.replace("(tokens,", "(tokens + 5,"), "is none of the 2 words, from 0"),
    ],
)
def test_what_sample_must_return_is_said(fault: str, says: str) -> None:
    own(fault)
    first = OWN[: OWN.index("def sample")].count("\n") + 1
    told = sentence(invoke("run", "last.py", *SMALL), 2)
    assert told.startswith(f"Error: last.py line {first} in sample: ") and says in told
    assert not Path("runs").exists()


def test_an_error_in_a_whole_block_is_found_before_a_run_begins() -> None:
    line = own(BIG + RETURN)
    told = sentence(invoke("run", "last.py", *SMALL), 2)
    assert told == f"Error: last.py line {line} in sample: KeyError: 1024"
    assert not Path("runs").exists()


def test_an_error_of_a_worker_is_no_crash() -> None:
    """It is told as in one run, and not tried again."""
    drawn = "        import threading\n        if threading.current_thread().name[:4] == 'data':\n"
    line = own(f"{drawn}            raise KeyError(n)\n{RETURN}") + 2
    done = invoke("run", "last.py", *SMALL, "--seeds", "2")
    assert sentence(done, 1) == f"Error: last.py line {line} in sample: KeyError: 1024"


def test_an_error_while_the_file_is_loaded_names_the_line() -> None:
    Path("last.py").write_text("def f():\n    return {}['x']\n\nf()\n")
    for command in ("run", "check"):
        told = sentence(invoke(command, "last.py"), 2)
        assert told == "Error: last.py cannot be loaded: last.py line 2 in f: KeyError: 'x'"


def test_a_value_that_a_task_refuses_is_told_in_its_own_words() -> None:
    own(RETURN)
    told = sentence(invoke("show", "last.py", "--length", "0"), 2)
    assert told == "Error: length = 0 cannot be used: at least 1"


@pytest.mark.parametrize(
    ("splits", "split", "says"),
    [
        ('("train",)', "False", True),
        ('("train", "test")', "False", True),
        ('("train", "test")', "self.split == 'test'", False),
    ],
)
def test_train_and_test_of_one_distribution_are_told(splits: str, split: str, says: bool) -> None:
    text = OWN.replace('("train",)', splits)
    Path("last.py").write_text(text.replace("0, 2, (n, length))", f"{split}, 2, (n, length))"))
    done = invoke("run", "last.py", *SMALL)
    assert done.exit_code == 0
    assert ("train and test are one distribution" in done.stderr) is says
    assert "--no-cot" not in done.stdout, "its rows have no thought"
