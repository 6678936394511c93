"""What a model looks at: against definitions written out, and models whose heads are known."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import stats

import tasks
from lab.analysis import heads, interventions, subject
from lab.analysis.subject import first_rows
from lab.cli.main import main
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.data.rows import Rows
from lab.experiments.parity import experiment as parity
from lab.mixers.attention import Attention
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import Model, make_model
from lab.runs.run import run
from tasks import Batch, Role, Task
from tasks.compose_parity import ComposeParity
from tasks.copy import Copy
from tasks.flipflop import FlipFlop
from tasks.istree import IsTree
from tasks.parity import Parity
from tasks.recall import Recall

SCHEMES: list[dict[str, Any]] = [
    {"position": "none"},
    {"position": "none", "bias": True, "qk_norm": True},
    {"position": "rope"},
    {"position": "alibi"},
    {"position": "hard_alibi", "banded": 2},
    {"position": "path"},
    {"position": "path", "forget": True, "kv_heads": 2},
    {"position": "none", "forget": True},
    {"position": "rope", "kv_heads": 1, "log_length": 4},
    {"position": "path", "gate": "elementwise"},
    *({"position": "alibi", "gate": "headwise", "gate_at": at} for at in ("G1", "G2", "G3", "G4")),
    {"gate": "elementwise", "gate_at": "G5"},
    {"gate": "elementwise", "gate_act": "silu", "gate_add": True},
    {"gate": "elementwise", "gate_shared": True, "gate_act": "ns_sigmoid"},
    {"gate": "headwise", "gate_input": "constant"},
]


@pytest.mark.parametrize("options", SCHEMES, ids=lambda o: " ".join(f"{k}={o[k]}" for k in o))
def test_weights_times_values_are_the_mixers_output(options: dict[str, Any]) -> None:
    config = ModelConfig(width=16, heads=4, **options)
    torch.manual_seed(0)
    mixer = Attention(config).double()
    for weight in mixer.parameters():  # far from uniform attention
        torch.nn.init.normal_(weight, std=1.5)
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    weights, before, after = mixer.attention_weights(x)
    assert weights.shape == (2, 4, 9, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9, dtype=torch.float64))
    assert (weights.triu(1) == 0).all() and (weights >= 0).all()
    assert weights[:, :, -1].max() > 0.5, "too uniform to tell schemes apart"
    if config.position == "hard_alibi":
        assert (weights[:, 0].tril(-1) == 0).all() and (weights[:, 1].tril(-2) == 0).all()

    def gated(at: str, y: torch.Tensor) -> torch.Tensor:
        if config.gate == "none" or config.gate_at != at:
            return y
        z = mixer.gate.score(x)
        z = z.view(2, 9, -1, 4 if config.gate == "elementwise" else 1) if y.ndim == 4 else z
        act = {"silu": z * z.sigmoid(), "ns_sigmoid": (1 + z.sigmoid()) / 2}
        score = act.get(config.gate_act, z.sigmoid())
        score = score.mean(2, keepdim=True) if config.gate_shared else score
        return y + score if config.gate_add else y * score

    G = config.kv_heads or 4
    v = gated("G2", mixer.qkv(x)[..., (4 + G) * 4 :].view(2, 9, G, 4))
    read = torch.stack([weights[:, h] @ v[:, :, h * G // 4] for h in range(4)], 2)
    torch.testing.assert_close(before, read)
    torch.testing.assert_close(after, gated("G1", read))
    y = gated("G5", mixer.out(gated("G1", read).flatten(2)))
    torch.testing.assert_close(y, mixer(x), rtol=1e-6, atol=1e-6)


@st.composite
def looks(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Causal weights [n,H,T,T], sizes of the rows, and marks [n,T,T] at or before their query."""
    n, H, T = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(0, draw(st.sampled_from([0.1, 3.0, 30.0])), (n, H, T, T))
    a = np.where(np.tri(T, dtype=bool), np.exp(logits - logits.max(-1, keepdims=True)), 0)
    a[..., 0] += 1e-12
    marks = (rng.random((n, T, T)) < 0.3) & np.tri(T, dtype=bool)
    return a / a.sum(-1, keepdims=True), rng.integers(2, T + 1, n), marks


@given(looks())
@settings(max_examples=60)
def test_measures_by_their_words(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, sizes, marks = case
    n, H, T, _ = a.shape
    valid = torch.from_numpy(np.arange(T) < sizes[:, None])
    weights, marked = torch.from_numpy(a), torch.from_numpy(marks)
    found = heads.entropy(weights, valid)
    first, needle, margin, hits = [], [], [], []
    for row in range(n):
        for h in range(H):
            rest = [
                stats.entropy(a[row, h, i, : i + 1]) / math.log(i + 1) for i in range(1, sizes[row])
            ]
            assert float(found[row, h]) == pytest.approx(min(rest), abs=1e-9)
        first += [a[row, :, i, 0] for i in range(1, sizes[row])]
        for i in range(T):
            columns = [j for j in range(T) if marks[row, i, j]]
            if columns:
                m = a[row, :, i, columns].sum(0)
                others = a[row, :, i].sum(-1) - m
                others = np.where(others > 1e-12, others, 0)
                needle.append(m)
                with np.errstate(divide="ignore"):
                    margin.append(np.log(m) - np.log(others))
                hits.append([float(a[row, h, i].argmax() in columns) for h in range(H)])
    np.testing.assert_allclose(heads.sink(weights, valid), np.array(first))
    if needle:
        np.testing.assert_allclose(heads.dependency_weight(weights, marked), np.array(needle))
        np.testing.assert_array_equal(heads.retrieval_score(weights, marked), np.array(hits))
        close = np.array(margin) < 20  # beyond that 1 - m has no digits left here
        np.testing.assert_allclose(
            heads.margin(weights, marked)[torch.from_numpy(close)],
            np.array(margin)[close],
            atol=1e-6,
        )


def made(task: Task, length: int, config: ModelConfig, n: int = 16, cot: bool = True) -> Any:
    """An untrained model on rows of a task, weights large enough to attend to something."""
    probe = Probe("all", length, n=n)
    e = Experiment("any", task, cot, config, TrainConfig(lengths=(length,)), (probe,))
    model = make_model(e)
    for block in model.blocks:
        for weight in block.mixer.parameters():
            torch.nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return subject.Subject("nowhere", "step-0", e, model, probe, first_rows(e, probe, n))


LENGTH = 4


def copier() -> subject.Subject:
    """A model that copies: head 0 looks `LENGTH` tokens back, head 1 at all alike.

    Words and places are one-hot; head 0 has the place i - LENGTH as its query and j as its key.
    """
    task = Copy(symbols=4)
    V, T = len(task.words), 2 * LENGTH + 3
    d = 16
    config = ModelConfig(layers="attention", width=2 * d, heads=2, max_positions=T, mlp_ratio=0)
    s = made(task, LENGTH, config)
    model: Any = s.model
    block = model.blocks[0]
    block.norm1 = model.norm = torch.nn.Identity()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.weight[:, :V] = torch.eye(V)
        model.place.weight[:, V : V + T] = torch.eye(T)
        q, k, v = block.mixer.qkv.weight.split(2 * d)
        for i in range(T):
            k[i, V + i] = 1
            if i >= LENGTH:
                q[i - LENGTH, V + i] = 1000
        v[:V, :V] = torch.eye(V)
        block.mixer.out.weight[:V, :V] = 10 * torch.eye(V)  # of head 0, above the token itself
        model.head.weight[:, :V] = torch.eye(V)
        bar, dot = V - 2, V - 1
        model.head.weight[dot] = model.head.weight[bar]  # the source of the end is the bar
        model.head.weight[bar] = 0
    return s


def test_a_head_that_copies_is_found_and_needed() -> None:
    s = copier()
    found = heads.measure(s)
    one, other = found.heads
    assert (one.layer, one.head, other.head) == (0, 0, 1)
    assert (
        one.dependency_weight == pytest.approx(1) and one.retrieval_score == 1 and one.margin > 100
    )
    assert one.entropy == pytest.approx(0, abs=1e-9) and other.entropy == pytest.approx(1)
    seen = [1 / (LENGTH + 2 + i) for i in range(LENGTH)]  # of i tokens the query sees all alike
    assert other.dependency_weight == pytest.approx(np.mean(seen))
    assert other.margin == pytest.approx(np.mean([-math.log(1 / p - 1) for p in seen]))
    assert other.retrieval_score == 0
    T = 2 * LENGTH + 3
    assert other.sink == pytest.approx(np.mean([1 / i for i in range(2, T + 1)]))
    removed = interventions.ablation(s, found.heads, top=1, draws=5)
    assert removed.top == ((0, 0),) and removed.random == (((0, 1),),)
    assert removed.intact[0] == 1 and removed.without_random == (removed.intact,)
    assert removed.without_top[0] == 0 and removed.without_top[1] > removed.intact[1] + 1
    with pytest.raises(ValueError, match="from 1 to half of the 2 heads"):
        interventions.ablation(s, found.heads, top=2)
    layers, maps = heads.attention_maps(s, 3)
    assert layers == [0] and maps.shape == (1, 2, T, T)
    np.testing.assert_allclose(maps[0, 0, LENGTH:].argmax(1), np.arange(T - LENGTH))


def test_all_heads_off_is_no_attention_also_when_decoding() -> None:
    s = made(Parity(k=3), 8, ModelConfig(position="path", bias=True, gate="headwise"))
    without = copy.deepcopy(s.model)
    for block in without.blocks:
        torch.nn.init.zeros_(block.mixer.out.weight)
    tokens = torch.from_numpy(np.ascontiguousarray(s.batch.tokens))
    every = [(layer, head) for layer in range(2) for head in range(2)]
    before = s.model(tokens)
    with interventions.heads_off(s.model, every):
        torch.testing.assert_close(s.model(tokens), without(tokens))
        _, state = s.model.prefill(tokens[:, :-1])
        last, _ = s.model.step(tokens[:, -1], state)
        torch.testing.assert_close(last, without(tokens)[:, -1])
    torch.testing.assert_close(s.model(tokens), before)
    assert not torch.allclose(before, without(tokens))
    with (
        pytest.raises(ValueError, match="attention layer"),
        interventions.heads_off(s.model, [(0, 2)]),
    ):
        pass


@pytest.mark.parametrize("layers", ["attention*2", "lstm,attention"])
def test_activations_and_gates(layers: str) -> None:
    config = ModelConfig(layers=layers, width=16, position="rope", gate="elementwise")
    s = made(IsTree(), 5, config, n=24)
    roles = s.batch.roles
    loud = next(iter(set(range(len(s.task.words))) - set(s.batch.tokens[roles != Role.PAD])))
    assert (roles == Role.PAD).any()
    s.model.embed.weight.data[loud] = 100  # padding is loud, and is left out all the same
    s = dataclasses.replace(
        s, batch=Batch(np.where(roles == Role.PAD, loud, s.batch.tokens), roles)
    )
    found = heads.measure(s)
    valid = torch.from_numpy(roles != Role.PAD)
    x = s.model.embed(torch.from_numpy(np.ascontiguousarray(s.batch.tokens)))
    peaks = []
    for block, seen in zip(s.model.blocks, found.layers, strict=True):
        if seen.mixer == "attention":
            z = torch.sigmoid(block.norm1(x) @ block.mixer.gate.score.weight.T)
            assert seen.gate == pytest.approx(float(z[valid].detach().mean()), rel=1e-5)
            reads: list[torch.Tensor] = []
            hook = block.mixer.out.register_forward_pre_hook(lambda _, a: reads.append(a[0]))  # noqa: B023
            block(x)
            hook.remove()
            after = reads[0][valid].detach().abs()
            before = (reads[0] / z)[valid].detach().abs()
            assert seen.after == pytest.approx(float(after.mean()), rel=1e-4)
            assert seen.before == pytest.approx(float(before.mean()), rel=1e-4)
            assert seen.below_2 == pytest.approx(float((after < 1e-2).float().mean()), abs=1e-3)
            assert seen.below_3 == pytest.approx(float((after < 1e-3).float().mean()), abs=1e-3)
        else:
            assert seen.gate is None and seen.after is None
        x = block(x)
        peaks.append(float(x[valid].detach().abs().max()))
        assert seen.peak == pytest.approx(peaks[-1], rel=1e-5)
    assert found.activation == pytest.approx(np.mean(peaks), rel=1e-5)
    assert len(found.heads) == 2 * sum(m.mixer == "attention" for m in found.layers)


def test_parts_of_the_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    s = made(Parity(k=3), 8, ModelConfig(), n=20)
    whole = heads.measure(s)
    monkeypatch.setattr(heads, "NUMBERS", 3 * 2 * s.batch.tokens.shape[1] ** 2)
    in_parts = heads.measure(s)
    for one, other in zip(whole.heads, in_parts.heads, strict=True):
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))


def next_tokens(batch: Batch, row: int, marks: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """Every marked query: the token it reads, the one it is to write, the marked tokens."""
    tokens = batch.tokens[row].tolist()
    return [
        (tokens[i], tokens[i + 1], [tokens[j] for j in np.flatnonzero(marks[row, i])])
        for i in np.flatnonzero(marks[row].any(1))
    ]


@pytest.mark.parametrize(
    ("task", "length", "cot", "queries"),
    [
        (Parity(k=4), 9, True, 4),
        (Parity(k=4), 9, False, 1),
        (ComposeParity(k=2, contexts=3, train_tasks=5), 5, True, 2),
        (ComposeParity(k=2, contexts=3, train_tasks=5), 5, False, 1),
        (Copy(symbols=5), 6, True, 6),
        (Recall(vocabulary=32), 4, True, 4),
        (Recall(vocabulary=32, queries="single"), 4, True, 1),
        (Recall(vocabulary=32, repeats=2), 3, True, 3),
        (FlipFlop(ignore=0.4), 12, True, None),
    ],
    ids=str,
)
def test_dependencies_say_what_the_next_token_follows_from(
    task: Task, length: int, cot: bool, queries: int | None
) -> None:
    s = made(task, length, ModelConfig(), n=32, cot=cot)
    marks = subject.dependency_mask(s)
    assert marks is not None and not (marks & ~np.tri(marks.shape[1], dtype=bool)).any()
    asked = np.isin(s.batch.roles[:, 1:], (Role.THOUGHT, Role.ANSWER))
    assert not marks[:, -1].any() and not (marks[:, :-1].any(2) & ~asked).any()
    for row in range(len(s.batch)):
        found = next_tokens(s.batch, row, marks)
        assert len(found) == (asked[row].sum() if queries is None else queries)
        for read, write, from_ in found:
            if task.name in ("parity", "compose_parity"):
                assert write == (read * cot + sum(from_)) % 2 and len(from_) == (
                    1 if cot else task.k
                )
            else:
                assert from_ == [write]
        if task.name == "recall":  # the key stands before the value, and as often after it
            tokens = s.batch.tokens[row].tolist()
            for i in np.flatnonzero(marks[row].any(1)):
                (j,) = np.flatnonzero(marks[row, i])
                context = 2 * length * (1 if task.repeats == 1 else task.repeats + 1)
                later = [tokens[c] for c in range(j + 1, context, 2)]
                assert tokens[j - 1] == tokens[i] and later.count(tokens[i]) == task.repeats - 1
        if task.name == "flipflop":
            tokens = s.batch.tokens[row].tolist()
            for i in np.flatnonzero(marks[row].any(1)):
                (j,) = np.flatnonzero(marks[row, i])
                assert tokens[j - 1] == 0 and 0 not in tokens[j + 1 : i : 2]


def test_tasks_without_dependencies_take_columns() -> None:
    s = made(IsTree(), 5, ModelConfig())
    assert (
        subject.dependency_mask(s) is None and heads.measure(s).heads[0].dependency_weight is None
    )
    marks = subject.dependency_mask(s, (0, 3))
    assert marks is not None
    asked = np.isin(s.batch.roles[:, 1:], (Role.THOUGHT, Role.ANSWER))
    assert (marks[:, :-1, 0] == asked).all() and (marks[:, :-1, 3] == asked).all()
    assert not marks[:, :, [1, 2, 4]].any()
    with pytest.raises(ValueError, match="dependencies = 99"):
        subject.dependency_mask(s, (99,))
    twice = dataclasses.replace(s.experiment, task=Parity(k=2), prompt_repeats=2)
    assert subject.dependency_mask(dataclasses.replace(s, experiment=twice)) is None


def test_every_task_can_be_looked_at() -> None:
    for name in tasks.names():
        task = tasks.load(name)()
        length = next(n for n in (3, 4, 5, 6, 8, 10, 16) if _draws(task, n))
        s = made(task, length, ModelConfig(layers="attention", width=8, heads=1), n=2)
        found = heads.measure(s)
        assert 0 <= found.heads[0].entropy <= 1 + 1e-9, name


def _draws(task: Task, length: int) -> bool:
    try:
        Rows(task, length, 0)[0:1]
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    e = parity(k=2, length=6)
    train = dataclasses.replace(e.train, steps=12, batch=16)
    probes = (dataclasses.replace(e.probes[0], n=64),)
    e = dataclasses.replace(e, train=train, probes=probes)
    return Path(run(e, tmp_path_factory.mktemp("runs"), "cpu", checkpoint_every=6).run)


def loss_of(folder: Path, weights: dict[str, torch.Tensor]) -> float:
    s = subject.open_run(folder, rows=32)
    s.model.load_state_dict(weights)
    inputs = to_torch(s.task, s.model.config, s.batch, torch.device("cpu"))
    return teacher_forced(s.model, inputs)[0].item()


def test_the_segment_between_two_checkpoints(trained: Path) -> None:
    ends = [
        load_file(trained / "checkpoint" / f"step-{step:08d}" / "weights.safetensors")
        for step in (6, 12)
    ]
    start, end = (subject.open_run(trained, rows=32, at=at) for at in ("step-6", None))
    assert end.at == "step-12"
    found = interventions.interpolate(start, end, points=5)
    assert found.ends == ("step-6", "step-12")
    assert found.shares == (0, 0.25, 0.5, 0.75, 1)
    losses = [loss_of(trained, weights) for weights in ends]
    assert found.loss[0] == losses[0] and found.loss[-1] == losses[1] and losses[0] != losses[1]
    half = {name: (ends[0][name] + ends[1][name]) / 2 for name in ends[0]}
    assert found.loss[2] == pytest.approx(loss_of(trained, half), rel=1e-6)
    line = np.linspace(losses[0], losses[1], 5)
    assert found.barrier == pytest.approx(max(np.array(found.loss) - line), abs=1e-12)
    assert found.dip == pytest.approx(max(line - np.array(found.loss)), abs=1e-12)


def test_a_run_is_read_and_never_executed(trained: Path, tmp_path: Path) -> None:
    s = subject.open_run(trained, rows=5)
    assert len(s.batch) == 5 and s.probe.label == "held out" and isinstance(s.model, Model)
    assert subject.open_run(trained, length=9).batch.tokens.shape[1] == 12
    with pytest.raises(ValueError, match="this run has 'held out'"):
        subject.open_run(trained, "elsewhere")
    with pytest.raises(ValueError, match="no run folder"):
        subject.open_run(tmp_path)
    with pytest.raises(ValueError, match="step-6, step-12"):
        subject.open_run(trained, at="step-7")
    marker = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    config = json.loads((trained / "config.json").read_text())
    config["source"] = str(tmp_path / "evil.py")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="must be given by hand"):
        subject.open_run(tmp_path)
    assert not marker.exists()


def test_a_damaged_checkpoint_is_named(trained: Path, tmp_path: Path) -> None:
    import shutil

    copied = tmp_path / "run"
    shutil.copytree(trained, copied)
    path = copied / "checkpoint" / "step-00000012" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="step-00000012 is damaged"):
        subject.open_run(copied)


def test_the_command(trained: Path) -> None:
    def lab(*args: str) -> Any:
        return CliRunner().invoke(main, ["analyze", str(trained), *args])

    done = lab("--rows", "8", "--json")
    found = json.loads(done.stdout)
    expected = dataclasses.asdict(heads.measure(subject.open_run(trained, rows=8)))
    assert found == json.loads(json.dumps(expected))
    shown = lab("--rows", "8", "--interpolate", "step-6", "--probe", "length=7")
    assert shown.exit_code == 0 and "length 7" in shown.stdout
    assert f"{found['activation']:.3g}" in lab("--rows", "8").stdout
    assert "loss from step-6 (0) to step-12 (1)" in shown.stdout
    for args, says in [
        (["--ablate", "1"], "ablate = 1 cannot be used"),
        (["--probe", "n=3"], "--rows sets the number of rows"),
        (["--dependencies", "40"], "dependencies = 40 cannot be used"),
    ]:
        refused = lab(*args)
        assert refused.exit_code == 2 and says in refused.stderr and not refused.stdout


def test_a_model_without_attention_says_so(tmp_path: Path) -> None:
    e = parity(k=2, length=6)
    train = dataclasses.replace(e.train, steps=1, batch=4)
    probes = (dataclasses.replace(e.probes[0], n=4),)
    lstm = ModelConfig(layers="lstm", width=8, heads=1, position="none")
    folder = run(
        dataclasses.replace(e, train=train, probes=probes, model=lstm), tmp_path, "cpu"
    ).run
    done = CliRunner().invoke(main, ["analyze", folder])
    assert done.exit_code == 0
    assert "No layer is attention (lstm), so there are no heads to analyze." in done.stdout
    assert heads.measure(subject.open_run(folder)).heads == ()
