"""Names of ancestors, and a family that does not depend on the seed."""

from __future__ import annotations

from dataclasses import replace

from lab.config.experiment import with_seeds
from lab.results.groups import groups
from lab.results.lineage import ancestors, family
from tests.stages import child
from tests.trained import small


def test_ancestors_are_named_from_the_parent_on() -> None:
    first = small(keep_steps=(30,))
    last = child(child(first, "step-30"))
    assert ancestors(last.to_json()) == [child(first, "step-30").slug, f"{first.slug}@step-30"]
    assert ancestors(small().to_json()) == [] and family(small().to_json()) is None


def test_seeds_are_one_family_and_other_parents_are_another() -> None:
    seeds = [e.to_json() for e in with_seeds(child(child()), 3)]
    assert {family(data) for data in seeds} == {child().slug}
    assert len({ancestors(data)[0] for data in seeds}) == 3
    fixed = child(small(seed=2), fixed=True).to_json()
    assert family(fixed) == small(seed=2).slug != family(child(small(seed=2)).to_json())


def test_runs_that_differ_in_the_seed_alone_are_one_group() -> None:
    from lab.results.folder import load
    from tests.trained import trained

    one = load(trained().path)
    several = [*with_seeds(child(), 2), child(small(lr=0.5))]
    results = [replace(one, experiment=e.to_json()) for e in several]
    assert sorted(len(group.results) for group in groups(results)) == [1, 2]
