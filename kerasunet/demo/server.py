"""The page with its tabs, the server behind it, and what that refuses.

Everything runs on this machine; the page needs no network. Refused are addresses to fetch, pages
that the demo does not use, and large bodies.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
import safehttpx
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kerasunet.demo import api, compare, finetune, layers, study
from kerasunet.demo.context import Context, ModelStore, is_local
from kerasunet.demo.visitors import temporary_folder

_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]
# Gradio's subdued grays, and white on its teal 500, lack the contrast of WCAG's level AA.
THEME = gr.themes.Base(
    primary_hue="teal",
    secondary_hue="teal",
    neutral_hue="slate",
    radius_size="md",
    spacing_size="md",
    font=_SANS,
    font_mono=_MONO,
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_background_fill="white",
    block_background_fill_dark="*neutral_900",
    block_border_width="1px",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    block_title_text_weight="500",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    block_label_background_fill="white",
    block_label_background_fill_dark="*neutral_900",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_text_color="white",
    checkbox_background_color_selected="*primary_700",
    checkbox_border_color_selected="*primary_700",
    checkbox_border_color_focus="*primary_700",
    slider_color="*primary_700",
    slider_color_dark="*primary_400",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
)


def header() -> str:
    """Return the top of the page as HTML: what it is, and what it is not for."""
    return (
        "<header><div><h1>kerasunet</h1>"
        "<p>Which layers of a pre-trained U-Net should be fine-tuned? See every strategy on your "
        "own image.</p></div>"
        '<p class="notice" role="note"><strong>Research use only. Not a medical device.</strong> '
        "Nothing is passed on; your images are deleted when you leave.</p></header>"
    )


_STYLE = Path(__file__).with_name("style.css")
_TITLE = "kerasunet: which layers should you fine-tune?"
_TABS = {"Compare": compare, "Layers": layers, "Study": study, "Fine-tune": finetune}
_FILE_LIMIT = "100mb"
_MOST_WAITING, _MOST_SESSIONS = 100, 400
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


def build(models: ModelStore, allow_training: bool = False, local: bool = False) -> gr.Blocks:
    """Build the page.

    Args:
        models: The models to offer.
        allow_training: Whether visitors may train on this machine.
        local: Whether the page listens to this machine only.
    """
    with gr.Blocks(title=_TITLE, analytics_enabled=False) as page:
        gr.HTML(header(), elem_id="header")
        context = Context(models, gr.State(()), allow_training, local=local)
        with gr.Tabs(elem_id="tabs"):
            for label, tab in _TABS.items():
                name = label.lower().replace("-", "")
                with gr.Tab(label, id=name, elem_id=f"tab-{name}"):
                    tab.build(context)
        api.build(context)
        page.unload(context.files.remove)
        page.unload(_session_remover(page))
    return page.queue(max_size=_MOST_WAITING)


def launch(
    host: str | None = None,
    port: int | None = None,
    *,
    open_browser: bool = False,
    allow_training: bool = False,
) -> None:
    """Open the page, load the models meanwhile, and serve until interrupted.

    Args:
        host: Address to listen on; `None` for this machine only.
        port: Port; `None` for the first free one from 7860 on.
        open_browser: Whether to open the page in the browser.
        allow_training: Whether visitors from other machines may train on this one.
    """
    # To be terminated is to be interrupted: visitors' files are deleted then as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    refuse_remote_files()
    with temporary_folder():
        models = ModelStore()
        page = build(models, allow_training, is_local(host))
        page.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            share=False,  # Else GRADIO_SHARE, or a notebook, would pass images on to strangers.
            max_file_size=_FILE_LIMIT,
            mcp_server=find_spec("mcp") is not None,
            app_kwargs=REQUEST_LIMITS,
            state_session_capacity=_MOST_SESSIONS,
            run_history=False,
            enable_monitoring=False,
            theme=THEME,
            css_paths=_STYLE,
            footer_links=["api", "settings"],
            ssr_mode=False,
            prevent_thread_lock=True,
            quiet=True,  # Gradio would advise to share the page.
        )
        print(f"The demo is at {page.local_url} (Ctrl-C ends it)", flush=True)
        models.load_in_background()
        try:
            page.block_thread()
        finally:
            models.close()


def _session_remover(page: gr.Blocks) -> Callable[[gr.Request], Coroutine]:
    """Return a handler that drops a session's state, which Gradio would keep for over an hour."""

    async def remove(request: gr.Request) -> None:
        page.state_holder.session_data.pop(request.session_hash, None)
        page.state_holder.time_last_used.pop(request.session_hash, None)

    return remove


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
