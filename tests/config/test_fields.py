"""Fields: what is said of them, which values they take, values from text."""

from __future__ import annotations

import math
import typing
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.config import ModelConfig, TrainConfig
from lab.config.fields import Field, check, describe, fits, parse, split_assignment


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("0.5", float, 0.5),
        ("1e-4", float, 1e-4),
        ("true", bool, True),
        ("No", bool, False),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("0.2", int | float, 0.2),
        ("4", int | float, 4),
        ("1,2,5", tuple[int, ...], (1, 2, 5)),
        ("1..4", tuple[int, ...], (1, 2, 3, 4)),
        ("(1..2,9)", tuple[int, ...], (1, 2, 9)),
        ("none", tuple[int, ...], ()),
        ("2,5", tuple[int, int], (2, 5)),
        ("rope", typing.Literal["none", "rope"], "rope"),
    ],
)
def test_values_from_text(text: str, hint: Any, value: Any) -> None:
    parsed = parse(text, hint, "x")
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("x", int), ("1.5", int), ("2", typing.Literal["a"]), ("1,2,3", tuple[int, int]), ("", int)],
)
def test_bad_text_is_refused(text: str, hint: Any) -> None:
    with pytest.raises(ValueError, match=r"a\.b = .* cannot be used"):
        parse(text, hint, "a.b")


@dataclass(frozen=True)
class Example:
    plain: int
    rows: Annotated[int, Field("rows of a step", unit="rows", low=1, common=True)] = 8
    rate: Annotated[float | None, Field("a rate", low=0, high=1, high_open=True)] = None
    parts: Annotated[tuple[float, ...], Field("parts", low=0, high=1, low_open=True)] = ()
    kind: Annotated[Literal["a", "b"] | None, "a choice"] = None


def test_a_dataclass_is_described() -> None:
    infos = {info.name: info for info in describe(Example)}
    assert list(infos) == ["plain", "rows", "rate", "parts", "kind"]
    assert infos["plain"].default is MISSING and infos["plain"].help == ""
    rows = infos["rows"]
    assert (rows.type, rows.default, rows.help, rows.unit) == (int, 8, "rows of a step", "rows")
    assert rows.common and not infos["rate"].common
    assert infos["kind"].choices == ("a", "b") and infos["kind"].help == "a choice"
    ranges = [infos[name].range for name in ("rows", "rate", "parts", "kind")]
    assert ranges == ["at least 1", "from 0 to below 1", "above 0, up to 1", ""]


def test_a_function_is_described_by_its_docstring() -> None:
    def function(k: int = 3, rest: Annotated[str, "what is left"] = "x") -> None:
        """A question?

        k: how many; a text that
            goes on
        """

    k, rest = describe(function)
    assert (k.help, k.default, rest.help) == ("how many; a text that goes on", 3, "what is left")
    with pytest.raises(ValueError, match="'bare' cannot be used"):
        describe(lambda bare: None)


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_every_field_has_a_help_sentence(cls: type) -> None:
    for info in describe(cls):
        assert len(info.help.split()) >= 2 and not info.help.endswith("."), info.name
        assert fits(info.default, info.type), info.name


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_every_number_that_has_a_range_is_checked(cls: type) -> None:
    """Just outside of each end is refused by the name of the field."""
    checked = 0
    for info in describe(cls):
        field = info.field
        outside = [] if field.low is None else [field.low if field.low_open else field.low - 1]
        outside += [] if field.high is None else [field.high if field.high_open else field.high + 1]
        for value in [*outside, math.nan] if info.range else []:
            bad = (value,) if typing.get_origin(info.type) is tuple else value
            allowed = info.range if value == value else "a finite number"
            with pytest.raises(
                ValueError, match=rf"\.{info.name} = .* cannot be used: .*{allowed}"
            ):
                cls(**{info.name: bad})
            checked += 1
    assert checked > 20


numbers = st.none() | st.integers(-3, 3) | st.floats(-3, 3)


@given(numbers, numbers, st.booleans(), st.booleans(), st.floats(-4, 4))
def test_ranges(
    low: float | None, high: float | None, low_open: bool, high_open: bool, value: float
) -> None:
    bad = low is not None and (value < low or (low_open and value == low))
    bad |= high is not None and (value > high or (high_open and value == high))
    assert Field("", None, low, high, low_open, high_open).contains(value) is not bad


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"rows": 0}, "x.rows = 0 cannot be used: at least 1"),
        ({"rows": None}, "x.rows = None cannot be used: it must be a whole number"),
        ({"rate": 1.0}, "x.rate = 1.0 cannot be used: none, or a number from 0 to below 1"),
        ({"parts": (0.5, 0.0)}, r"x.parts = \(0.5, 0.0\) cannot be used: each above 0, up to 1"),
        ({"parts": 0.5}, "x.parts = 0.5 cannot be used: it must be numbers separated by commas"),
    ],
)
def test_what_is_wrong_is_said(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(Example(**{"plain": 1, **bad}), "x.")
    check(Example(1, rate=0.0, parts=(1.0,)), "x.")


@pytest.mark.parametrize(
    ("value", "hint", "good"),
    [
        (3, int, True),
        (3, float, True),
        (3.0, int, False),
        (True, int, False),
        (1, bool, False),
        (None, int | None, True),
        ("3", int | float, False),
        ((1, 2), tuple[int, ...], True),
        ((1, 2.5), tuple[int, ...], False),
        ((1,), tuple[int, int], False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"] | None, False),
    ],
)
def test_values_fit_their_types(value: Any, hint: Any, good: bool) -> None:
    assert fits(value, hint) is good


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("k=3", ("k", "3")),
        (" task.k = 3 ", ("task.k", "3")),
        ("layers=a=b", ("layers", "a=b")),
        ("k=", ("k", "")),
    ],
)
def test_assignments(text: str, parts: tuple[str, str]) -> None:
    assert split_assignment(text, "--set", "k=5") == parts


@pytest.mark.parametrize("text", ["k", "", "=3"])
def test_a_text_that_is_no_assignment(text: str) -> None:
    with pytest.raises(ValueError, match=f"--set = '{text}' .* form PATH=VALUE, such as k=5"):
        split_assignment(text, "--set", "k=5")


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [(TrainConfig, "lr", math.inf), (TrainConfig, "steps", 2**53), (ModelConfig, "width", 10**400)],
)
def test_a_number_has_an_end(cls: type, name: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"\.{name} = .* a finite number, a whole one below 2\^53"
    ):
        cls(**{name: value})
