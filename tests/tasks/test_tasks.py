"""One contract, every task in tasks/."""

import pytest
from hypothesis import settings

import tasks
from lab.testing import check_task


@pytest.mark.parametrize("name", tasks.names())
def test_contract(name: str) -> None:
    check_task(tasks.load(name)(), examples=settings().max_examples)
