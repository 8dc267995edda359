"""Problems are gathered and reported all at once, not one per attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


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


def wrong_size(path, found: Sequence[int], wanted: Sequence[int], image: str = "its image") -> str:
    """Says that a mask, (height, width, …) `found`, has not the size of its image, `wanted`."""
    return (
        f"{path}: the mask is {found[1]}×{found[0]} pixels, {image} is {wanted[1]}×{wanted[0]}; "
        "they must be equal"
    )
