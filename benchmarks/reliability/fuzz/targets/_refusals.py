"""What a refusal has to look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def documented(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Lets documented errors pass if their message names the file; all others are failures."""
    try:
        yield
    except kinds as error:
        message = str(error)
        assert path.name in message, f"does not name the file: {message!r}"


def reading(path: Path, read: Callable[[Path], None]) -> Callable[[bytes], None]:
    """Return a check that writes its input to a file and reads it."""

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with documented(path, ValueError):
            read(path)

    return check
