"""Which neurons of the MLPs predict the label of a row, and accuracy without them (2211.07349).

    threshold b of a neuron = mean of its activation a at the site over rows of the training split
    accuracy                = share of the probe's rows in which [a > b] equals the label
    predictivity            = max(accuracy, 1 - accuracy)

The paper reads a at soft prompts, takes the best of them and the mean over several prompts; its
thresholds come from training rows, its accuracies from others. Ours: the site is the query of an
answer token (the token before it, from which the model writes it), or a token further back, and the
label says which of two words the answer token is.

A neuron is off when a is b at the site (the authors' code has this beside Gaussian noise and 0):
what predicts the label is then gone, and the rest stays. Accuracy without neurons is the share of
rows whose answer token has the highest logit, earlier tokens given; random sets are of all but the
top neurons, from a stream of random numbers of their own. Layers and neurons count from 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lab.analysis.finding import Finding
from lab.analysis.interventions import random_sets
from lab.analysis.labels import answer_token, label_word
from lab.analysis.sites import Change, Site, changed, logits_at, recorded, required_sites
from lab.analysis.subject import Subject, first_rows
from lab.config.fields import Field
from lab.data.rows import stream
from tasks import refuse

SHOWN = 20  # neurons in a table

NeuronId = tuple[int, int]  # layer, neuron


@dataclass(frozen=True)
class Step:
    """accuracy without the `top` most predictive neurons and without as many others at random."""

    top: int
    without_top: float
    without_random: tuple[float, ...]


@dataclass(frozen=True)
class Neurons(Finding):
    """predictivity: of every neuron, by layer. top: the most predictive ones, best first. ones:
    share of the rows with label 1. accuracy: of the intact model."""

    word: str
    ones: float
    accuracy: float
    top: tuple[NeuronId, ...]
    steps: tuple[Step, ...]
    predictivity: dict[int, tuple[float, ...]]

    terms: ClassVar[Mapping[str, str]] = {
        "predictivity": "share of rows whose label the neuron tells by being above its mean, or not"
    }

    @property
    def sentences(self) -> Sequence[str]:
        """The label, and what each number of neurons costs."""
        total = sum(map(len, self.predictivity.values()))
        told = [
            f"The label is 1 where the answer is {self.word!r}: in {self.ones:.3f} of the rows.",
            f"A neuron that is always silent has predictivity {max(self.ones, 1 - self.ones):.3f}.",
            f"Accuracy with all {total} neurons: {self.accuracy:.3f}.",
        ]
        for step in self.steps:
            text = f"Without the top {step.top}: {step.without_top:.3f}"
            if step.without_random:
                sets = f"mean of {len(step.without_random)} sets"
                text += f"; without as many at random: {mean(step.without_random):.3f} ({sets})"
            told.append(f"{text}.")
        return told

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """The most predictive neurons, at most SHOWN."""
        return [
            {"neuron": f"{layer}.{i}", "predictivity": self.predictivity[layer][i]}
            for layer, i in self.top[:SHOWN]
        ]


def analyze(
    subject: Subject,
    top: Annotated[tuple[int, ...], Field("numbers of neurons to switch off", low=1)] = (8,),
    answer: Annotated[int, Field("answer token that has the label, counted from 0", low=0)] = 0,
    word: Annotated[str, "word that means label 1; empty: the second of the two"] = "",
    back: Annotated[int, Field("tokens from the query back to the site", low=0)] = 0,
    draws: Annotated[int, Field("random sets for each number", low=1)] = 10,
    seed: Annotated[int, Field("seed of the random sets", low=0)] = 0,
) -> Neurons:
    """Predictivity of every neuron, and accuracy without the best. ValueError where there is no
    MLP or a mixture of experts, without a binary label, and for more neurons than there are."""
    found = required_sites(subject.model, "neurons")
    training = _training(subject)
    query, tokens = answer_token(subject, answer)
    training_query, known = answer_token(training, answer)
    meant = label_word(subject, [tokens, known], word)
    labels = tokens == meant
    if labels.all() or not labels.any():
        raise refuse("word", subject.task.words[meant], "one that some rows have, and some not")
    furthest = int(min(query.min(), training_query.min()))
    if back > furthest:
        raise refuse("back", back, f"at most {furthest}, the tokens before the query")
    site = query - back
    of_training = _activations(training, found, training_query - back)
    thresholds = {s: a.mean(0) for s, a in of_training.items()}
    scores: dict[int, np.ndarray] = {}
    for s, a in _activations(subject, found, site).items():
        right = ((a > thresholds[s]).cpu().numpy() == labels[:, None]).mean(0)
        scores[s.layer] = np.maximum(right, 1 - right)
    every = [(layer, i) for layer, each in scores.items() for i in range(len(each))]
    ranked = sorted(every, key=lambda neuron: scores[neuron[0]][neuron[1]], reverse=True)
    if not top or max(top) > len(every):
        raise refuse("top", top, f"numbers from 1 to {len(every)}, the neurons of the model")

    def accuracy(off: Sequence[NeuronId]) -> float:
        changes: dict[Site, Change] = {}
        for s in found:
            own = [i for layer, i in off if layer == s.layer]
            changes[s] = _set_to(thresholds[s], own, site)
        with changed(subject.model, changes):
            logits = logits_at(subject, subject.batch.tokens, query)
        return float((logits.argmax(-1).cpu().numpy() == tokens).mean())

    steps = []
    for number in top:
        sets = random_sets(ranked[number:], number, draws, stream(seed, "neurons", number))
        steps.append(Step(number, accuracy(ranked[:number]), tuple(map(accuracy, sets))))
    return Neurons(
        word=subject.task.words[meant],
        ones=float(labels.mean()),
        accuracy=accuracy(()),
        top=tuple(ranked[: max(*top, SHOWN)]),
        steps=tuple(steps),
        predictivity={layer: tuple(each.tolist()) for layer, each in scores.items()},
    )


def _training(subject: Subject) -> Subject:
    """As many rows of the training split, from a stream of their own."""
    change = {**subject.probe.change, "split": subject.task.splits()[0]}
    probe = dataclasses.replace(subject.probe, label="thresholds", change=change)
    batch = first_rows(subject.experiment, probe, len(subject.batch))
    return dataclasses.replace(subject, probe=probe, batch=batch)


def _activations(subject: Subject, found: Sequence[Site], site: np.ndarray) -> dict[Site, Tensor]:
    """Activations [n,h] of the neurons of every MLP at one column of each row."""
    with recorded(subject.model, found) as kept:
        logits_at(subject, subject.batch.tokens, site)
    return {s: x[torch.arange(len(site)), torch.from_numpy(site)] for s, x in kept.items()}


def _set_to(threshold: Tensor, neurons: Sequence[int], site: np.ndarray) -> Change:
    rows, columns = torch.arange(len(site))[:, None], torch.from_numpy(site)[:, None]
    which = torch.tensor(neurons, dtype=torch.int64)

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[rows, columns, which] = threshold[which]
        return x

    return change
