"""One contract, every task in tasks/."""

import pytest

import tasks
from lab.testing import check_task


@pytest.mark.parametrize("name", tasks.names())
def test_contract(name: str) -> None:
    check_task(tasks.load(name)())
