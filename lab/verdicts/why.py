"""Why the runs of an experiment ended as they did, in sentences, by the rules of the claims.

    Flat: exact match 0.031 after +0.002 in the last quarter of the steps; more of the same ...
    Right in range only: answers 0.998 at length 20, 0.031 at length 40 (longer).
    Completions, first to last tenth of the steps: reward 0.21 to 0.9, Pass@1 0.21 to 0.9 ...

The rules are those of lab.verdicts.diagnosis: LEARNED for what a model can do, RISING for a curve.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.results.result import Result
from lab.results.steps import ends, largest_pass
from lab.results.summary import late_gain
from lab.results.words import share
from lab.verdicts.diagnosis import LEARNED, mean, rising


def why(results: Sequence[Result]) -> list[str]:
    """Sentences on runs that differ only in their seed (means over seeds); none where there is
    nothing to say. The rows of the first probe are like those of training."""
    told = (_reinforced(results), _curve(results), _range(results), _thought(results))
    return [text for text in told if text]


def _reinforced(results: Sequence[Result]) -> str | None:
    """What the completions of a run by reinforcement were like at its start and at its end."""
    many = largest_pass(results[0])
    if many is None:
        return None
    names = {"reward": "reward", "pass@1": "Pass@1", many: many.capitalize()}
    names |= {"entropy": "entropy in nats", "written": "tokens"}
    told = {name: ends(results, name) for name in [*names, "idle"]}
    parts = [
        f"{names[n]} {e.first:.3g} to {e.last:.3g}" for n, e in told.items() if e and n in names
    ]
    idle = told["idle"]
    if idle is None:
        return None
    return (
        f"Completions, first to last tenth of the steps: {', '.join(parts)}; {share(idle.last)} of"
        " the last prompts taught nothing."
    )


def _curve(results: Sequence[Result]) -> str | None:
    """What exact match of the first probe did at the end of training, unless it is solved."""
    threshold = results[0].experiment["train"]["threshold"]
    if all(result.scores[0].exact >= threshold for result in results):
        return None
    gains = [gain for gain in map(late_gain, results) if gain is not None]
    end = mean([result.scores[0].exact for result in results])
    if len(gains) < len(results):
        return (
            "No curve: it was not evaluated on the way (--eval-every), so whether more steps would"
            " help is not known."
        )
    gain = mean(gains)
    told = f"exact match {share(end)} after {gain:+.3f} in the last quarter of the steps"
    if rising(gain, end):
        return f"Still rising: {told}; more steps may help."
    if end >= LEARNED:
        return f"Almost learned: {told}."
    return f"Flat: {told}; more of the same steps would change little."


def _range(results: Sequence[Result]) -> str | None:
    """The probes that a model fails although it answers rows like those of training."""
    answers = [mean([r.scores[i].answer for r in results]) for i in range(len(results[0].scores))]
    if answers[0] < LEARNED:
        return None
    scores, trained = results[0].scores, max(results[0].experiment["train"]["lengths"])
    failed = [i for i, answer in enumerate(answers) if answer < LEARNED]
    if not failed:
        return None
    longer = all(scores[i].length > trained for i in failed)
    i = min(failed, key=lambda i: scores[i].length)
    what = "in range only" if longer else "on rows like those of training only"
    return (
        f"Right {what}: answers {share(answers[0])} at length {scores[0].length},"
        f" {share(answers[i])} at length {scores[i].length} ({scores[i].probe})."
    )


def _thought(results: Sequence[Result]) -> str | None:
    """Where the thought first goes wrong, at the first probe whose thought is often wrong."""
    for number, score in enumerate(results[0].scores):
        own = [result.scores[number] for result in results]
        valid = [s.valid_thought for s in own if s.valid_thought is not None]
        errors = [s.first_error for s in own if s.first_error is not None]
        if valid and errors and mean(valid) < LEARNED:
            return (
                f"Thought: right to its end in {share(mean(valid))} of the rows of {score.probe}"
                f" (length {score.length}); its first wrong token is number {mean(errors):.0f}"
                " (median, from 0)."
            )
    return None
