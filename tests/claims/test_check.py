"""A claim from its name or file to its record, its figure and its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab import registry
from lab.claims._check import check, claim_of
from lab.cli.main import main
from lab.results.folder import Folder
from lab.results.seal import write_sealed
from lab.runs.run import run
from lab.verdicts.rates import trials
from tests.claim_results import NAMES, check_figure, recorded
from tests.profiles import NIGHTLY

MY_CLAIM = str(Path(__file__).with_name("my_claim.py"))


def test_a_users_own_file(tmp_path: Path) -> None:
    """Its runs are made beforehand in this process, or, under `nightly`, by the check's own."""
    claim = claim_of(MY_CLAIM, "cpu")
    assert type(claim) is type(registry.load("claims", MY_CLAIM)("cpu"))
    for arm in [*claim.arms.values(), *claim.control.arms.values()]:
        for e in [] if NIGHTLY else claim.seeded(arm)[:2]:
            run(e, tmp_path)
    calls: list[tuple[int, int]] = []
    record = check(
        MY_CLAIM,
        seeds=2,
        out=tmp_path,
        progress=lambda done, total, rows: calls.append((done, total)),
    )
    assert record["verdict"] == "inconclusive" and record["diagnosis"]["cause"] == "seeds"
    assert max(record["negative_control"]["values"]) < claim.threshold < min(record["values"])
    exact = [seed["exact"] for seed in record["series"]]
    assert record["values"] == [one["trained"] - one["untrained"] for one in exact]
    assert record["command"] == f"lab claim {MY_CLAIM} --scale cpu --seeds 2"
    assert json.loads(json.dumps(record))["seeds"] == 2 and calls[-1] == (6, 6)
    check_figure(claim, record, tmp_path / "figure.png")


def test_the_rates_of_a_users_own_file(tmp_path: Path) -> None:
    claim = claim_of(MY_CLAIM, "cpu")
    for by_rate in trials(claim).values():
        for e in by_rate.values():
            run(e, tmp_path)
    args = ["claim", MY_CLAIM, "--rates", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, [*args, "--json", "--record", str(tmp_path / "rates.json")])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record == json.loads((tmp_path / "rates.json").read_text())
    assert record["command"] == f"lab claim {MY_CLAIM} --scale cpu --rates"
    assert {"git", "threads"} <= set(record["environment"])
    arm = record["arms"]["trained"]
    assert [round(t["rate"] / arm["rate"], 2) for t in arm["trials"]] == [0.33, 1, 3]
    table = CliRunner().invoke(main, args)
    assert table.exit_code == 0 and table.stdout.count("its own") == len(record["arms"])


def test_a_rate_that_diverges_is_the_worst(tmp_path: Path) -> None:
    """Its run is made beforehand and its end written as a run does that has diverged."""
    for by_rate in trials(claim_of(MY_CLAIM, "cpu")).values():
        *others, last = by_rate.values()
        for e in others:
            run(e, tmp_path)
        folder = Folder(tmp_path, last)
        folder.open()
        write_sealed(folder.failure, {"step": 1, "what": "loss is"})
    args = ["claim", MY_CLAIM, "--rates", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, [*args, "--json"])
    assert done.exit_code == 0, done.output
    for arm in json.loads(done.stdout)["arms"].values():
        low, own, high = (trial["exact"] for trial in arm["trials"])
        assert low is not None and own is not None and high is None
    assert "diverged" in CliRunner().invoke(main, args).stdout
    folder.failure.write_text("{}")
    done = CliRunner().invoke(main, args)
    assert done.exit_code and "failed.json is damaged" in done.stderr


def test_rates_that_all_diverge_are_an_error(tmp_path: Path) -> None:
    for by_rate in trials(claim_of(MY_CLAIM, "cpu")).values():
        for e in by_rate.values():
            folder = Folder(tmp_path, e)
            folder.open()
            write_sealed(folder.failure, {"step": 1, "what": "loss is"})
    done = CliRunner().invoke(main, ["claim", MY_CLAIM, "--rates", "--out", str(tmp_path)])
    assert done.exit_code == 1 and "try a smaller train.lr" in done.stderr


def test_a_file_whose_function_returns_no_claim(tmp_path: Path) -> None:
    path = tmp_path / "other.py"
    path.write_text('"""No claim."""\n\n\ndef claim(scale):\n    return scale\n')
    with pytest.raises(ValueError, match="must return a Claim"):
        claim_of(str(path), "cpu")
    path.write_text('"""No function."""\n')
    with pytest.raises(ValueError, match="must define a function `claim`"):
        claim_of(str(path), "cpu")


def invoke(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> Any:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, ["claim", *args])


def test_a_record_is_shown_again_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run, and a stranger's record executes no file that it names."""
    record = {**recorded(), "claim": "./mine.py"}
    (tmp_path / "mine.py").write_text("raise SystemExit('executed')")
    (tmp_path / "r.json").write_text(json.dumps(record))
    (tmp_path / "bad.json").write_text("{}")
    done = invoke(tmp_path, monkeypatch, "r.json", "--figure", "f.png")
    assert done.exit_code == 0 and "Verdict: fails" in done.stdout
    assert "this is no claim of the lab" in done.stderr
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(invoke(tmp_path, monkeypatch, "r.json", "--json").stdout) == record
    done = invoke(tmp_path, monkeypatch, "r.json", "--html")
    assert done.stdout == "claims.html\n" and "1 claim: 1 fails." in Path("claims.html").read_text()
    bad = invoke(tmp_path, monkeypatch, "bad.json")
    assert bad.exit_code == 2 and "bad.json is no record of a claim" in bad.stderr
    assert not (tmp_path / "runs").exists()


def test_the_page_of_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.verdicts.records.records", lambda folder: [])
    done = invoke(tmp_path, monkeypatch, "--html", "--to", "x.html")
    assert done.stdout == "x.html\n" and done.exit_code == 0
    text = (tmp_path / "x.html").read_text()
    assert f"{len(NAMES)} claims: {len(NAMES)} not recorded." in text
    assert all(f'href="#{name}-cpu"' in text for name in NAMES)
    failed = invoke(tmp_path, monkeypatch, "--html", "--to", "no/x.html")
    assert failed.exit_code == 1 and "cannot write no/x.html" in failed.stderr


def test_the_list_of_claims() -> None:
    done = CliRunner().invoke(main, ["claim", "--list", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert list(dict.fromkeys(row["claim"] for row in rows)) == NAMES
    assert {"cot-parity", "cot-sparsity", "arc-unseen", "rnn-gap", "recall-state"} <= set(NAMES)
    assert all({"claim", "scale", "verdict"} <= set(row) for row in rows)
    table = CliRunner().invoke(main, ["claim", "--list"])
    assert table.exit_code == 0 and all(name in table.stdout for name in NAMES)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name a claim (arc-unseen, "),
        (["cot-sparsty"], "did you mean 'cot-sparsity'?"),
        (["cot-sparsity", "--seeds", "1"], "--seeds"),
        (["cot-sparsity", "--seeds", "51"], "'--seeds': 51 is not in the range 2<=x<=50"),
        (["cot-sparsity", "--record", "no/r.json"], "--record no/r.json: No such file"),
        (["cot-sparsity", "--figure", "no/f.png"], "--figure no/f.png: No such file"),
        (["cot-sparsity", "--record", "."], "--record .: Is a directory"),
        (["cot-sparsity", "--record", ""], "--record = '' cannot be used: it is empty"),
        (["cot-sparsity", "--html"], "NAME = 'cot-sparsity' cannot be used with --html: it runs"),
        (["--html", "--rates"], "--rates does not apply to --html"),
        (["--html", "--record", "r.json"], "--record does not apply to --html"),
        (["--html", "--json"], "--json does not apply to --html"),
        (["--list", "--seeds", "3"], "--seeds does not apply to --list"),
        (["cot-sparsity", "--to", "a.html"], "--to a.html: only --html writes a page"),
        (["no.json"], "NAME = 'no.json': No such file"),
        (["no.json", "--seeds", "6"], "--seeds does not apply to a record"),
        (["cot-sparsity", "--scale", "tpu"], "--scale"),
        (["cot-sparsity", "--minutes", "0"], "--minutes"),
        (["cot-sparsity", "--figure", "a.pdf"], "ends in .png or .svg"),
        (["cot-sparsity", "--rates", "--seeds", "3"], "--seeds with --rates"),
        (["cot-sparsity", "--rates", "--figure", "a.png"], "--figure with --rates"),
    ],
)
def test_mistakes(args: list[str], message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["claim", *args])
    assert done.exit_code == 2 and message in done.stderr and not done.stdout
    assert not list(tmp_path.iterdir()), "a refused claim leaves nothing behind"
