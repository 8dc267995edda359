"""What becomes of an item: a value, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kerasunet.files import NotWritten
from kerasunet.study.executors.environment import share_of_worker

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
        stops: Whether the fault is not the item's, and others would meet it too: a full disk.
    """

    error: str
    stops: bool = False


def attempt(function: Function, item: Any, environment: Mapping[str, str]) -> Done | Failed:
    """Calls the function; an exception becomes an outcome, so that it stops nothing else."""
    try:
        return Done(function(item, {**share_of_worker(), **environment}))
    except NotWritten as error:
        return Failed(str(error), stops=True)
    except Exception as error:
        return Failed(str(error) or type(error).__name__)
