"""Keeps strangers from having this server fetch, store or run what the page does not offer."""

from __future__ import annotations

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
