"""What this server refuses: addresses to fetch, pages that the demo does not use, large bodies."""

from __future__ import annotations

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
