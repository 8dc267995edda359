"""Keeps strangers from having this server fetch, store or run what the page does not offer."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
import safehttpx
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_API = "/gradio_api"
_CLOSED = tuple(
    f"{_API}/{name}"
    for name in ("proxy=", "deep_link", "run-history", "vibe-", "process_recording")
)
_MEGABYTE = 2**20
_UPLOAD, _UPLOAD_MEGABYTES, _BODY_MEGABYTES = f"{_API}/upload", 500, 150
"""Of all files of one upload together; of any other request, such as a file inside a tool call."""


def fetch_nothing() -> None:
    """Refuses files that are given by their address: Gradio would fetch them."""
    safehttpx.get = safehttpx.async_validate_url = _refuse


async def _refuse(*_: object, **__: object) -> NoReturn:
    raise gr.Error(
        "give the file itself, not its address: this page fetches nothing", print_exception=False
    )


class _TooLarge(Exception):
    """A body went over its limit."""


class Door:
    """Answers 404 to what Gradio has and this page does not use, and 413 to bodies too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_CLOSED):
            await _answer(send, 404, "There is no such page.")
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = scope["path"].startswith(_UPLOAD)
        megabytes = _UPLOAD_MEGABYTES if upload else _BODY_MEGABYTES
        words = f"That is too large: at most {megabytes} MB at once."
        if _announced(scope) > megabytes * _MEGABYTE:
            await _answer(send, 413, words)
            return
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, _counted(receive, megabytes * _MEGABYTE), note)
        except _TooLarge:
            if not begun:
                await _answer(send, 413, words)


DOOR: dict[str, Any] = {"middleware": [Middleware(Door)]}
"""For `app_kwargs` of `launch`."""


def _announced(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _counted(receive: Receive, limit: int) -> Receive:
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _TooLarge
        return message

    return counted


async def _answer(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})


_KEPT_SECONDS, _KEPT_SECONDS_EMPTY, _SECONDS_BETWEEN_SWEEPS = 3600, 20, 10
_KEPT_BYTES = 8 << 30
_OWN_NAME = 40


class Traces:
    """The files of each session, so that they go when it ends.

    Equal uploads of two sessions are one file: it goes with the last of them, and never while
    another session that has just uploaded it has yet to use it.
    """

    def __init__(self) -> None:
        self._files: dict[str, set[Path]] = defaultdict(set)
        self._ages: dict[Path, int] = {}
        self._lock = threading.Lock()

    def keep(self, request: gr.Request | None, *paths: str | os.PathLike | None) -> None:
        """Remembers files as those of the session that asks."""
        if request is None:
            return
        with self._lock:
            for path in map(Path, filter(None, paths)):
                self._files[request.session_hash].add(path)
                self._ages[path] = _age(path)

    def remove(self, request: gr.Request) -> None:
        """Deletes the files of a session that has ended."""
        with self._lock:
            files = self._files.pop(request.session_hash, set())
            for path in files.difference(*self._files.values()):
                if _age(path) == self._ages.pop(path):
                    _delete(path)


@contextmanager
def workspace() -> Iterator[Path]:
    """Has Gradio keep its files in a folder of this process' own, which goes with it.

    Meanwhile, files that no session has taken away go when they are an hour old, and the oldest
    earlier where they become too many.
    """
    with tempfile.TemporaryDirectory(prefix="kerasunet-demo-", ignore_cleanup_errors=True) as path:
        os.environ["GRADIO_TEMP_DIR"] = path
        over = threading.Event()
        sweeper = threading.Thread(target=_sweep_until, args=(Path(path), over), daemon=True)
        sweeper.start()
        yield Path(path)
        over.set()


def new_file(name: str, data: bytes) -> Path:
    """Writes a file for a visitor to download, under a name that nobody can guess."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(_OWN_NAME // 2)
    folder.mkdir()
    path = folder / name
    path.write_bytes(data)
    return path


def sweep(folder: Path, seconds: float, most_bytes: int = _KEPT_BYTES) -> None:
    """Deletes the uploads and downloads that are older than this, or the oldest of too many.

    What lies deeper are the images and runs of sessions that fine-tune; they go with those.

    Args:
        folder: Folder of the demo's files.
        seconds: How old a file may become.
        most_bytes: How much the others may take on the disk together.
    """
    oldest, left = time.time() - seconds, most_bytes
    for age, size, path in sorted(_files(folder), reverse=True):
        left -= size
        if left < 0 or age < oldest * 1e9:
            _delete(path)


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """When each came here, its size and its path."""
    for place, folders, names in os.walk(folder):
        if place != str(folder):
            folders.clear()
        for path in (Path(place, name) for name in names):
            with suppress(OSError):  # Gone already.
                seen = path.stat()
                yield seen.st_ctime_ns, seen.st_size, path


def sweep_empty(folder: Path, seconds: float) -> None:
    """Deletes empty files in the folder itself: Gradio leaves one each time it is given a file."""
    oldest = time.time() - seconds
    for entry in os.scandir(folder):
        with suppress(OSError):  # Gone already.
            if entry.is_file() and not (seen := entry.stat()).st_size and seen.st_ctime < oldest:
                os.unlink(entry)


def _sweep_until(folder: Path, over: threading.Event) -> None:
    while not over.wait(_SECONDS_BETWEEN_SWEEPS):
        sweep(folder, _KEPT_SECONDS)
        sweep_empty(folder, _KEPT_SECONDS_EMPTY)


def _age(path: Path) -> int:
    """When the file came here, in nanoseconds; an upload of the same file anew changes it."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _delete(path: Path) -> None:
    """Deletes a file, and its folder, if that was made for it alone."""
    path.unlink(missing_ok=True)
    if len(path.parent.name) == _OWN_NAME:
        with suppress(OSError):  # Not empty.
            path.parent.rmdir()
