"""The groups of word_problem, against permutations read from the printed elements."""

import re

import pytest

from tasks._groups import compose, group

ORDERS = {"S3": 6, "S5": 120, "A5": 60, "Z60": 60, "A4xZ5": 60}
MODULUS = {"S3": 1, "S5": 1, "A5": 1, "Z60": 60, "A4xZ5": 5}
Element = tuple[tuple[int, ...], int]


def read(word: str) -> Element:
    """A printed element: where it sends the points 1 to 5, and a number."""
    cycles, _, number = word.partition("+") if not word.isdigit() else ("", "", word)
    images = [0, 1, 2, 3, 4, 5]
    for cycle in re.findall(r"\((\d+)\)", cycles):
        for i, point in enumerate(cycle):
            images[int(point)] = int(cycle[(i + 1) % len(cycle)])
    return tuple(images), int(number or 0)


def times(a: Element, b: Element, group: str) -> Element:
    return tuple(b[0][a[0][x]] for x in range(6)), (a[1] + b[1]) % MODULUS[group]


@pytest.mark.parametrize("name", ORDERS)
def test_group(name: str) -> None:
    """As many different elements as the group has, closed under products, with their parity."""
    words = group(name).names
    elements = {read(word) for word in words}
    assert len(words) == len(elements) == ORDERS[name]
    assert {times(a, b, name) for a in elements for b in list(elements)[:5]} <= elements
    if name in ("A5", "A4xZ5"):
        odd = [sum(p[i] > p[j] for j in range(6) for i in range(j)) % 2 for p, _ in elements]
        assert not any(odd)


@pytest.mark.parametrize("name", ORDERS)
def test_tables_say_what_the_printed_elements_multiply_to(name: str) -> None:
    of_name = group(name)
    printed = [read(word) for word in of_name.names]
    number = {element: i for i, element in enumerate(printed)}
    order = len(printed)
    products = [[number[times(a, b, name)] for b in printed] for a in printed]
    assert of_name.table.tolist() == products
    inverses = of_name.inverse.tolist()
    assert [products[i][inverses[i]] for i in range(order)] == [0] * order
    for i in range(order):
        assert of_name.number[of_name.elements[i]] == i
        product = compose(of_name.elements[i], of_name.elements[order - 1], of_name.modulus)
        assert of_name.number[product] == products[i][order - 1]
