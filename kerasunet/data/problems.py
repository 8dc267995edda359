"""Problems are gathered and reported all at once, not one per attempt."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_gathered: ContextVar[list[str] | None] = ContextVar("gathered", default=None)


def is_plain(text: str, breaks: str = "") -> bool:
    """Whether text can be printed and written as UTF-8: no control characters, nor half ones.

    Args:
        text: Such as the name of a file.
        breaks: Control characters that are allowed, such as `"\\n"`.
    """
    return not any(unicodedata.category(c) in ("Cc", "Cs") and c not in breaks for c in text)


def collect(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Makes every call, and only then raises what went wrong.

    Args:
        calls: Functions without arguments.

    Returns:
        What the calls returned, in order.

    Raises:
        OSError: One single call failed with it.
        ValueError: One call failed with it, or several failed; the message lists them all.
    """
    results: list[T] = []
    errors: list[OSError | ValueError] = []
    for call in calls:
        try:
            results.append(call())
        except (OSError, ValueError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise_all([str(error) for error in errors])
    return results


def raise_all(problems: Sequence[str], heading: str = "") -> None:
    """Raises a `ValueError` with a heading and one line a problem, if there is any problem."""
    if problems:
        raise ValueError("\n  ".join([heading, *problems] if heading else problems))


def report_all(problems: Sequence[str], heading: str) -> None:
    """As `raise_all`, for a reader that can go on with the rest: `gathering` lets it."""
    kept = _gathered.get()
    if kept is None:
        raise_all(problems, heading)
    else:
        kept += problems


@contextmanager
def gathering() -> Iterator[list[str]]:
    """Lets readers go on without what has a fault; yields the list that faults are added to."""
    token = _gathered.set([])
    try:
        yield _gathered.get()
    finally:
        _gathered.reset(token)


def wrong_size(path, found: Sequence[int], wanted: Sequence[int], image: str = "its image") -> str:
    """Says that a mask, (height, width, …) `found`, has not the size of its image, `wanted`."""
    return (
        f"{path}: the mask is {found[1]}×{found[0]} pixels, {image} is {wanted[1]}×{wanted[0]}; "
        "they must be equal"
    )
