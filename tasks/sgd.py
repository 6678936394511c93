"""Stochastic gradient descent for a linear model on the samples in the row, as a Turing Program.

Row for two samples of two inputs (length 2), at the default options:

    BOS +2 -1 : +9 ; 0 +2 : -4 ; 0 0 SEP
    0 +2 : -4 ; +9 > +9 -5 SEP   -1 > +9 -6 SEP   +9 -6 EOS
    thought                                       answer

A tape has the remaining samples `inputs : label ;`, then the weights. A step removes the first
sample and writes, after the other samples, the residual, > and the new weights; the last tape is
the weights alone. A step takes at most 2 * dimension + 5 edits (insertions, deletions,
replacements) of the tape before, however many samples there are.

All numbers are exact integers, one token each, from -limit to +limit. Weights are in units of
2^-fraction, the learning rate is 2^-rate:

    residual = label - round(weights . inputs / 2^fraction)
    weights += round(residual * inputs * 2^(fraction - rate))

round takes halves away from zero; residual and weights are then clipped to the limit. Above, the
first residual is +9 - 0 and the weights gain 9/8 of the inputs, in quarters +9 and -4.5, so -5.
Then the product is -10 quarters = -2.5, rounded -3, and the residual is -4 + 3.

Source: 2407.03310 (Turing Programs) has in-context SGD; its dimension, quantization and format were
not found, so all of this is ours, the data too: inputs uniform from -inputs to +inputs, true
weights uniform on the whole grid and not in the row; a label is their rounded product plus noise,
uniform from -noise to +noise, clipped to the limit.

Held out: 1/16 of the inputs of the first sample (at least one value), which decide against a hash
of all other samples and their labels; the label of the first sample follows from its inputs. Rows
of one sample have no other samples: all of them are training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import refuse
from tasks._program import MEASURED_ROWS, TuringProgram, measured_chance
from tasks._split import draw_digit


@dataclass(frozen=True)
class Sgd(TuringProgram):
    """`length` is the number of samples."""

    dimension: Annotated[int, "number of inputs of a sample, and of weights, 1 to 8"] = 2
    inputs: Annotated[int, "largest input, 1 to limit"] = 2
    limit: Annotated[int, "largest number that has a token, 2 to 1000"] = 16
    fraction: Annotated[int, "weights are in units of 2^-fraction, 0 to 8 bits"] = 2
    rate: Annotated[int, "the learning rate is 2^-rate, 0 to 8 bits"] = 3
    noise: Annotated[int, "largest error of a label before clipping, 0 to limit"] = 1
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.dimension <= 8:
            raise refuse("dimension", self.dimension, "from 1 to 8")
        if not 2 <= self.limit <= 1000:
            raise refuse("limit", self.limit, "from 2 to 1000")
        if not 1 <= self.inputs <= self.limit:
            raise refuse("inputs", self.inputs, f"from 1 to limit = {self.limit}")
        for option in ("fraction", "rate"):
            if not 0 <= getattr(self, option) <= 8:
                raise refuse(option, getattr(self, option), "from 0 to 8 bits")
        if not 0 <= self.noise <= self.limit:
            raise refuse("noise", self.noise, f"from 0 to limit = {self.limit}")

    @property
    def glyphs(self) -> tuple[str, ...]:
        numbers = (f"{i:+d}" if i else "0" for i in range(-self.limit, self.limit + 1))
        return (*numbers, ":", ";", ">")

    def chance(self, length: int) -> float:
        """Measured on fixed rows; for one sample all rows are enumerated if they are few enough."""
        d, R = self.dimension, self.limit
        sides = (2 * R + 1,) * d + (2 * self.inputs + 1,) * d + (2 * self.noise + 1,)
        if length > 1 or np.prod(sides, dtype=float) > 2 * MEASURED_ROWS:
            return measured_chance(self, length)
        middle = np.array([(side - 1) // 2 for side in sides], np.int32)
        every = np.indices(sides, np.int32).reshape(len(sides), -1).T - middle
        x = every[:, None, d : 2 * d]
        return self.most_common(self._tape(x, self._labels(x, every[:, :d], every[:, -1:])))

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        d, X = self.dimension, self.inputs
        true = rng.integers(-self.limit, self.limit + 1, (n, d), np.int16)
        x = rng.integers(-X, X + 1, (n, length, d), np.int16)
        noise = rng.integers(-self.noise, self.noise + 1, (n, length), np.int16)
        y = self._labels(x, true, noise)
        if length == 1:
            if self.split == "test":
                raise refuse("length", length, "at least 2, or nothing can be held out")
            return self._tape(x, y)
        others = np.concatenate([x[:, 1:], y[:, 1:, None]], 2) + self.limit
        size = (2 * X + 1) ** d
        held = max(1, size // 16)
        z = draw_digit(rng, others.reshape(n, -1), size, held, self.split == "test")
        for j in range(d):
            z, x[:, 0, j] = np.divmod(z, 2 * X + 1)
        x[:, 0] -= X
        y[:, :1] = self._labels(x[:, :1], true, noise[:, :1])
        return self._tape(x, y)

    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        n, d, R = len(tape), self.dimension, self.limit
        block = d + 3  # tokens of a sample
        length = tape.shape[1] // block
        number = np.ascontiguousarray(tape.T).astype(np.int32) - R
        weights = number[-d:].copy()
        tapes = []
        for i in range(0, length * block, block):
            x, y = number[i : i + d], number[i + d + 1]
            residual = y - _divide((weights * x).sum(0), self.fraction)
            np.clip(residual, -R, R, out=residual)
            gain = residual * x << max(0, self.fraction - self.rate)
            weights += _divide(gain, max(0, self.rate - self.fraction))
            np.clip(weights, -R, R, out=weights)
            left = (length - 1) * block - i
            after = np.empty((n, left + d + 2), tape.dtype)
            after[:, :left] = tape[:, i + block : i + block + left]
            after[:, left], after[:, left + 1] = residual + R, 2 * R + 3
            after[:, left + 2 :] = (weights + R).T
            tapes.append(after)
        return [*tapes, tapes[-1][:, 2:]], None

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, d, R = len(tape), self.dimension, self.limit
        ends = np.flatnonzero(tape[0] == 2 * R + 2)
        if not len(ends):
            return tape[:, -d:], np.ones(n, np.bool_)
        x, y = tape[:, :d] - R, tape[:, d + 1 : d + 2] - R
        weights, up = tape[:, -d:] - R, max(0, self.fraction - self.rate)
        residual = y - _divide((weights * x).sum(1, keepdims=True), self.fraction)
        residual = np.clip(residual, -R, R)
        weights = weights + _divide(residual * x << up, max(0, self.rate - self.fraction))
        weights = np.clip(weights, -R, R) + R
        left, arrow = tape[:, d + 3 : ends[-1] + 1], np.full_like(residual, 2 * R + 3)
        return np.concatenate([left, residual + R, arrow, weights], 1), np.zeros(n, np.bool_)

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(2 * self.limit + 1),)

    def is_start(self, tape: list[int]) -> bool:
        d, R = self.dimension, self.limit
        samples, weights = tape[:-d], tape[-d:]
        blocks = [samples[i : i + d + 3] for i in range(0, len(samples), d + 3)]
        return weights == [R] * d and bool(blocks) and all(map(self._is_sample, blocks))

    def _is_sample(self, block: list[int]) -> bool:
        """Whether it reads `inputs : label ;` with a label that some weights give."""
        d, R = self.dimension, self.limit
        inputs = [abs(token - R) for token in block[:d]]
        label = min(R, _round(R * sum(inputs), 2**self.fraction) + self.noise)
        return (
            len(block) == d + 3
            and max(inputs) <= self.inputs
            and abs(block[d + 1] - R) <= label
            and (block[d], block[d + 2]) == (2 * R + 1, 2 * R + 2)
        )

    def step(self, tape: list[int]) -> list[int] | None:
        d, R = self.dimension, self.limit
        colon, semicolon, arrow = 2 * R + 1, 2 * R + 2, 2 * R + 3
        if semicolon not in tape:
            return tape[-d:] if arrow in tape else None
        weights = [token - R for token in tape[-d:]]
        inputs = [token - R for token in tape[:d]]
        assert tape[d] == colon
        label = tape[d + 1] - R
        product = sum(w * x for w, x in zip(weights, inputs, strict=True))
        residual = self._clip(label - _round(product, 2**self.fraction))
        for j, x in enumerate(inputs):
            gain = _round(residual * x * 2**self.fraction, 2**self.rate)
            weights[j] = self._clip(weights[j] + gain)
        end = len(tape) - tape[::-1].index(semicolon)
        return [*tape[d + 3 : end], residual + R, arrow, *(w + R for w in weights)]

    def _clip(self, value: int) -> int:
        return max(-self.limit, min(self.limit, value))

    def _labels(self, x: np.ndarray, true: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Labels int16 [n, length] of inputs [n, length, d] for weights [n, d]."""
        product = (x.astype(np.int32) * true[:, None].astype(np.int32)).sum(2, dtype=np.int32)
        y = _divide(product, self.fraction) + noise
        return np.clip(y, -self.limit, self.limit).astype(np.int16)

    def _tape(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """First tapes [n, length * (d + 3) + d]: the samples, then weights 0."""
        (n, length, d), R = x.shape, self.limit
        tape = np.full((n, length * (d + 3) + d), R, np.uint8 if R <= 120 else np.int16)
        samples = np.empty((n, length, d + 3), tape.dtype)
        samples[:, :, :d], samples[:, :, d + 1] = x + R, y + R
        samples[:, :, d], samples[:, :, d + 2] = 2 * R + 1, 2 * R + 2
        tape[:, :-d] = samples.reshape(n, -1)
        return tape


def _divide(value: np.ndarray, bits: int) -> np.ndarray:
    """value / 2^bits, halves rounded away from zero."""
    return np.sign(value) * ((np.abs(value) + (1 << bits >> 1)) >> bits)


def _round(numerator: int, denominator: int) -> int:
    """numerator / denominator, halves rounded away from zero."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return size if numerator >= 0 else -size
