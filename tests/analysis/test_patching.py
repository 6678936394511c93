"""Activation patching: pairs of rows, the share restored by its words, and a planted site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lab.analysis.analyses import patching
from lab.analysis.pairs import corrupted_pairs
from lab.analysis.sites import Site
from lab.config import ModelConfig
from tasks import Role, Task
from tasks.addition import Addition
from tasks.bigram import Bigram
from tasks.copy import Copy
from tasks.istree import IsTree
from tasks.parity import Parity
from tasks.recall import Recall
from tests.subjects import by_hand, copier, made


@pytest.mark.parametrize(
    ("task", "length", "cot"),
    [
        (Copy(symbols=5), 6, True),
        (Recall(vocabulary=32), 4, True),
        (Parity(k=3), 8, True),
        (Parity(k=3), 8, False),
        (IsTree(), 5, True),
        (Addition(), 2, True),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_pairs_differ_in_one_token_and_what_follows(task: Task, length: int, cot: bool) -> None:
    s = made(task, length, ModelConfig(width=8, position="rope"), n=24, cot=cot)
    both = corrupted_pairs(s)
    n = len(both.query)
    assert 12 <= n <= 24 and len(both.subject.batch) == len(both.corrupted) == n
    for row in range(n):
        clean, roles = both.subject.batch.tokens[row], both.subject.batch.roles[row]
        corrupted, changed, query = both.corrupted[row], both.changed[row], both.query[row]
        asked = query + 1
        assert [changed] == np.flatnonzero(clean[:asked] != corrupted[:asked]).tolist()
        assert roles[changed] == Role.PROMPT and roles[asked] in (Role.THOUGHT, Role.ANSWER)
        assert clean[asked] == both.right[row] != both.wrong[row] == corrupted[asked]
        prompt = corrupted[roles == Role.PROMPT].tolist()
        thought, answer = task.solve(prompt)
        assert corrupted[roles == Role.ANSWER].tolist() == answer
        if cot:
            assert corrupted[roles == Role.THOUGHT].tolist() == thought
    if task.name in ("copy", "recall"):  # the token that is asked for was replaced itself
        own = np.arange(n)
        assert (both.subject.batch.tokens[own, both.changed] == both.right).all()
    again = corrupted_pairs(s)
    np.testing.assert_array_equal(again.corrupted, both.corrupted)
    assert not np.array_equal(corrupted_pairs(s, seed=1).changed, both.changed)


def test_the_only_site_that_matters_restores_all() -> None:
    s = copier()
    found = patching.analyze(s)
    assert found.pairs == found.rows == 16
    assert (found.clean, found.corrupted) == pytest.approx((10, -10), abs=0.1)
    shares = {str(Site(r.part, r.layer, r.head)): r.restored for r in found.sites}
    nothing = {"changed": 0, "query": 0, "others": 0}
    all_of_it = nothing | {"query": 1}
    assert shares == {
        "block 0": pytest.approx(all_of_it, abs=1e-6),
        "head 0.0": pytest.approx(all_of_it, abs=1e-6),
        "head 0.1": pytest.approx(nothing, abs=1e-6),
    }
    here = patching.analyze(s, columns=(1, 5))
    assert set(here.sites[0].restored) == {"token 1", "token 5"}
    with pytest.raises(ValueError, match="columns = 10 cannot be used: below 10"):
        patching.analyze(s, columns=(10,))


def test_the_share_restored_by_its_words() -> None:
    s = made(Parity(k=2), 5, ModelConfig(width=16, position="rope"), n=10)
    s.model.head.weight.data.neg_()  # so that this model prefers the right token
    found = patching.analyze(s, seed=3)
    both = corrupted_pairs(s, 3)
    n = len(both.query)
    clean, corrupted = (
        torch.from_numpy(np.ascontiguousarray(tokens))
        for tokens in (both.subject.batch.tokens, both.corrupted)
    )
    kept: dict[Site, torch.Tensor] = {}

    def keep(site: Site, x: torch.Tensor) -> torch.Tensor:
        kept[site] = x
        return x

    def difference(logits: torch.Tensor) -> float:
        lines = [logits[row, both.query[row]] for row in range(n)]
        gaps = [float(x[both.right[i]] - x[both.wrong[i]]) for i, x in enumerate(lines)]
        return sum(gaps) / n

    best, worst = difference(by_hand(s.model, clean, keep)), difference(by_hand(s.model, corrupted))
    assert found.clean == pytest.approx(best, abs=1e-5)
    assert found.corrupted == pytest.approx(worst, abs=1e-5)
    assert best > worst + 0.01
    assert len(found.sites) == 2 + 4 + 2
    for one in found.sites:
        site = Site(one.part, one.layer, one.head)  # type: ignore[arg-type]
        for name, share in one.restored.items():

            def edit(at: Site, x: torch.Tensor, site: Site = site, name: str = name) -> Any:
                x = x.clone()
                for row in range(n if at == site else 0):
                    own = {"changed": [both.changed[row]], "query": [both.query[row]]}
                    rest = set(range(both.query[row])) - {both.changed[row]}
                    for t in own.get(name, rest):
                        x[row, t] = kept[site][row, t]
                return x

            patched = difference(by_hand(s.model, corrupted, edit))
            assert share == pytest.approx((patched - worst) / (best - worst), abs=1e-4), one
    last = found.sites[1].restored
    assert last == pytest.approx({"changed": 0, "query": 1, "others": 0}, abs=1e-5)


def test_tasks_without_pairs() -> None:
    s = made(Bigram(), 8, ModelConfig(width=8), n=8)
    with pytest.raises(ValueError, match="task = 'bigram' cannot be used: in no row does another"):
        corrupted_pairs(s)


def test_a_model_that_sees_no_difference() -> None:
    s = copier()
    s.model.head.weight.data.zero_()
    found = patching.analyze(s)
    assert found.sites[0].restored == {"changed": None, "query": None, "others": None}
    assert found.sentences[-1] == "The model does not tell them apart: there is nothing to restore."
