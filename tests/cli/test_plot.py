"""The command lab plot, and the figure that lab run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from click.testing import Result as Outcome

from lab.cli import plot
from lab.cli.main import main
from lab.figures import draw
from tests.figure_runs import base, finished, several


def lab(*args: str) -> Outcome:
    return CliRunner().invoke(main, ["plot", *args])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(plot.KINDS) == {"auto", *draw.KINDS}
    monkeypatch.chdir(tmp_path)
    runs = several(Path("runs"), base(), 2, whole=True)
    names = [Path(run.run).name for run in runs]
    done = lab("runs/parity-*")
    assert (done.exit_code, done.stdout) == (0, "parity-length.png\n")
    done = lab(*names, f"runs/{names[0]}", "--kind", "curve", "--to", "c.svg", "--json")
    told = json.loads(done.stdout)
    assert told["file"] == "c.svg" and told["kind"] == "curve" and Path("c.svg").exists()
    assert told["groups"] == [{"label": "", "runs": [run.run for run in runs]}]
    several(Path("copy"), base(), 2, whole=True)
    done = lab(names[0], "--out", "copy", "--kind", "curve", "--json")
    assert json.loads(done.stdout)["groups"][0]["runs"] == [f"copy/{names[0]}"]
    done = lab("runs/parity-*", "copy/*", "--to", "d.png")
    assert "2 of 4 runs repeat the experiment and seed of another" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nothing"], "no run is named 'nothing': there are begun, damaged, parity-"),
        (["runs/x*"], "no run is named 'runs/x*': there are begun, damaged, parity-"),
        (["runs"], "RUN = 'runs' cannot be used: it is no run folder; try 'runs/*'"),
        (["begun"], "this run is not complete"),
        (["damaged"], "RUN = 'runs/damaged' cannot be used: its result.json cannot be read"),
        (
            ["parity-*", "--out", "x.svg"],
            "'x.svg' cannot be used: it is the folder of the runs; --to",
        ),
        (["parity-*", "--to", ""], "--to = '' cannot be used: it is empty"),
        (["parity-*", "--to", "x.jpg"], "--to = 'x.jpg' cannot be used"),
        (["parity-*", "--kind", "heatmap"], "all these runs were trained at 4,6,8"),
        (["parity-*", "--kind", "pie"], "'pie' is not one of"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    finished(Path("runs"), base(), whole=True)
    for name, result in (("begun", None), ("damaged", "{")):
        folder = Path("runs") / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        if result:
            (folder / "result.json").write_text(result)
    done = lab(*args)
    assert done.exit_code == 2 and not done.stdout
    assert says in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    run = finished(tmp_path, base(), whole=True).run
    done = lab(run, "--to", str(tmp_path / "no" / "x.png"))
    assert done.exit_code == 1 and "cannot write" in done.stderr


def test_lab_run_leaves_a_plot_and_draws_it_again_when_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--length", "6", "--k", "2", "--steps", "20", "--batch", "16", "--width", "16"]

    def run(*more: str) -> str:
        done = CliRunner().invoke(main, ["run", "parity", *quick, "--eval-every", "10", *more])
        assert done.exit_code == 0 and not done.stderr
        return done.stdout

    told = json.loads(run("--json"))
    plot = Path(told["run"]) / "plot.png"
    assert not plot.exists()
    said = run()
    lines = [line for line in said.splitlines() if not line.startswith("Next:")]
    assert str(plot) in lines and max(map(len, lines)) <= 80
    assert "not learned (exact >= 1.0) within 320 rows (censored)" in " ".join(said.split())
    before = plot.read_bytes()
    plot.write_bytes(b"kept")
    run()
    assert plot.read_bytes() == b"kept"
    plot.unlink()
    assert run() == said and plot.read_bytes() == before

    def full(*anything: object) -> None:
        raise OSError(28, "No space left on device")

    plot.unlink()
    monkeypatch.setattr(draw, "save", full)
    done = CliRunner().invoke(main, ["run", "parity", *quick, "--eval-every", "10"])
    assert done.exit_code == 0 and "Next:" in done.stdout  # the run is complete all the same
    assert done.stderr == f"no plot: cannot write into {told['run']}: No space left on device\n"
