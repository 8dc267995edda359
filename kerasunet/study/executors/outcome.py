"""What becomes of an item: a value, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Function = Callable[[Any, Mapping[str, str]], Any]
RETRIES = 2


@dataclass(frozen=True)
class Done:
    """The function returned.

    Attributes:
        value: What it returned.
    """

    value: Any


@dataclass(frozen=True)
class Failed:
    """The function raised, or its worker died more often than it is tried again.

    Attributes:
        error: One line for people.
    """

    error: str


def attempt(function: Function, item: Any, environment: Mapping[str, str]) -> Done | Failed:
    """Calls the function; an exception becomes an outcome, so that it stops nothing else."""
    try:
        return Done(function(item, environment))
    except Exception as error:
        return Failed(str(error) or type(error).__name__)
