"""The page with its tabs, and the server behind it.

Everything runs on this machine; the page needs no network.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path

import gradio as gr

from kerasunet.demo import api, compare, finetune, layers, study
from kerasunet.demo.context import Context, ModelStore, is_local
from kerasunet.demo.visitors import REQUEST_LIMITS, refuse_remote_files, temporary_folder

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
        )
        models.load_in_background()
        page.block_thread()


def _session_remover(page: gr.Blocks) -> Callable[[gr.Request], Coroutine]:
    """Return a handler that drops a session's state, which Gradio would keep for over an hour."""

    async def remove(request: gr.Request) -> None:
        page.state_holder.session_data.pop(request.session_hash, None)
        page.state_holder.time_last_used.pop(request.session_hash, None)

    return remove
