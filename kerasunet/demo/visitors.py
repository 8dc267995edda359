"""Visitors: what the server refuses them, who owns their files, and when those are deleted.

Refused are addresses to fetch, pages that the demo does not use, and large bodies.
"""

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
_CLOSED_PATHS = tuple(
    f"{_API}/{name}"
    for name in ("proxy=", "deep_link", "run-history", "vibe-", "process_recording")
)
_MEGABYTE = 2**20
_UPLOAD_PATH = f"{_API}/upload"
_UPLOAD_MEGABYTES = 500
"""Limit for all files of one upload together."""
_BODY_MEGABYTES = 150
"""Limit for any other request, such as a tool call with a file inside."""
_SECONDS_KEPT, _SECONDS_EMPTY_KEPT, _SECONDS_BETWEEN_SWEEPS = 3600, 20, 10
_MOST_BYTES = 8 << 30
_FOLDER_NAME_LENGTH = 40
"""Characters of the random name of a folder that holds one file, here and in Gradio."""


def refuse_remote_files() -> None:
    """Refuse files that are given by their address; Gradio would fetch them."""
    safehttpx.get = safehttpx.async_validate_url = _refuse


async def _refuse(*_: object, **__: object) -> NoReturn:
    raise gr.Error(
        "give the file itself, not its address: this page fetches nothing", print_exception=False
    )


class _BodyTooLarge(Exception):
    """A body exceeded its limit."""


class RequestLimits:
    """Middleware: 404 for pages of Gradio that the demo does not use, 413 for bodies too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_CLOSED_PATHS):
            await _answer(send, 404, "There is no such page.")
        else:
            await self._limit_body(scope, receive, send)

    async def _limit_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_upload = scope["path"].startswith(_UPLOAD_PATH)
        megabytes = _UPLOAD_MEGABYTES if is_upload else _BODY_MEGABYTES
        refusal = f"That is too large: at most {megabytes} MB at once."
        if _announced_length(scope) > megabytes * _MEGABYTE:
            await _answer(send, 413, refusal)
            return
        answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, _limited(receive, megabytes * _MEGABYTE), send_and_note)
        except _BodyTooLarge:
            if not answered:
                await _answer(send, 413, refusal)


REQUEST_LIMITS: dict[str, Any] = {"middleware": [Middleware(RequestLimits)]}
"""For `app_kwargs` of Gradio's `launch`."""


def _announced_length(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _limited(receive: Receive, limit: int) -> Receive:
    """Return `receive`, which raises once more than `limit` bytes have come."""
    left = limit

    async def receive_limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _BodyTooLarge
        return message

    return receive_limited


async def _answer(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})


class VisitorFiles:
    """The files of each session, deleted when it ends.

    Equal uploads of two sessions are one file. It is deleted with the last of them, and never
    while another session that has just uploaded it has yet to use it.
    """

    def __init__(self) -> None:
        self._files: dict[str, set[Path]] = defaultdict(set)
        self._times: dict[Path, int] = {}
        self._lock = threading.Lock()

    def keep(self, request: gr.Request | None, *paths: str | os.PathLike | None) -> None:
        """Record files as belonging to the session of a request."""
        if request is None:
            return
        with self._lock:
            for path in (Path(given) for given in paths if given):
                self._files[request.session_hash].add(path)
                self._times[path] = _changed_at(path)

    def remove(self, request: gr.Request) -> None:
        """Delete the files of a session that has ended."""
        with self._lock:
            files = self._files.pop(request.session_hash, set())
            for path in files.difference(*self._files.values()):
                if _changed_at(path) == self._times.pop(path):
                    _delete(path)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give Gradio a folder of this process's own for its files, and delete it at the end.

    Meanwhile, files that no session has deleted go when they are an hour old; the oldest go
    earlier if all together become too large.
    """
    with tempfile.TemporaryDirectory(prefix="kerasunet-demo-", ignore_cleanup_errors=True) as path:
        os.environ["GRADIO_TEMP_DIR"] = path
        over = threading.Event()
        sweeper = threading.Thread(target=_sweep_until, args=(Path(path), over), daemon=True)
        sweeper.start()
        try:
            yield Path(path)
        finally:
            over.set()
            sweeper.join()


def new_folder() -> Path:
    """Make a folder for a visitor, under a name that nobody can guess."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(_FOLDER_NAME_LENGTH // 2)
    folder.mkdir(parents=True)
    return folder


def new_file(name: str, data: bytes) -> Path:
    """Write a file for a visitor to download, in its own folder."""
    path = new_folder() / name
    path.write_bytes(data)
    return path


def delete_old_files(folder: Path, seconds: float, most_bytes: int = _MOST_BYTES) -> None:
    """Delete uploads and downloads that are too old, and the oldest if they are too large.

    What lies deeper in the folder are the data and runs of sessions that fine-tune; those are
    deleted with their session.

    Args:
        folder: Folder of the demo's files.
        seconds: Age from which a file is deleted.
        most_bytes: Limit for all files together.
    """
    oldest, left = time.time() - seconds, most_bytes
    for changed, size, path in sorted(_files(folder), reverse=True):
        left -= size
        if left < 0 or changed < oldest * 1e9:
            _delete(path)


def delete_empty_files(folder: Path, seconds: float) -> None:
    """Delete empty files in the folder itself: Gradio leaves one for each file it is given."""
    oldest = time.time() - seconds
    for entry in os.scandir(folder):
        with suppress(OSError):  # Already deleted.
            if entry.is_file() and not (seen := entry.stat()).st_size and seen.st_ctime < oldest:
                os.unlink(entry)


def _sweep_until(folder: Path, over: threading.Event) -> None:
    while not over.wait(_SECONDS_BETWEEN_SWEEPS):
        delete_old_files(folder, _SECONDS_KEPT)
        delete_empty_files(folder, _SECONDS_EMPTY_KEPT)


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield time of change in nanoseconds, size and path of files at most one folder deep."""
    for place, folders, names in os.walk(folder):
        if place != str(folder):
            folders.clear()
        for path in (Path(place, name) for name in names):
            with suppress(OSError):  # Already deleted.
                seen = path.stat()
                yield seen.st_ctime_ns, seen.st_size, path


def _changed_at(path: Path) -> int:
    """Return when the file came, in nanoseconds; uploading it again changes that. 0 if gone."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _delete(path: Path) -> None:
    """Delete a file, and its folder if that was made for it alone."""
    path.unlink(missing_ok=True)
    if len(path.parent.name) == _FOLDER_NAME_LENGTH:
        with suppress(OSError):  # Not empty.
            path.parent.rmdir()
