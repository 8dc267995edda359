"""Fixtures of the tests of `adapt`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kerasunet.adapt.settings import BUDGETS


@pytest.fixture(scope="package")
def short() -> Iterator[None]:
    """Make the quick budget train a few steps only."""
    with pytest.MonkeyPatch.context() as patch:
        few = BUDGETS["quick"]._replace(steps=6, fewest_steps=6, candidates=1)
        patch.setitem(BUDGETS, "quick", few)
        yield
