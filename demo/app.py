"""The demo: upload an image, see every strategy side by side, learn which layers matter.

python demo/app.py, or kerasunet demo. Everything runs on this machine; no page asks the network.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
if (FOLDER.parent / "kerasunet").is_dir():  # In a clone; installed, it lies inside the package.
    sys.path.insert(1, str(FOLDER.parent))
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from heaps import share_heaps  # noqa: E402

share_heaps()  # Before the libraries below start threads.

import endpoints  # noqa: E402
import gradio as gr  # noqa: E402
from context import Context, Shelf, is_local  # noqa: E402
from door import DOOR, fetch_nothing  # noqa: E402
from theme import THEME, header  # noqa: E402
from traces import workspace  # noqa: E402

from kerasunet.cli.demo import add_arguments  # noqa: E402

TITLE = "kerasunet: which layers should you fine-tune?"
TABS = {"Compare": "compare", "Layers": "layers", "Study": "study", "Fine-tune": "finetune"}
_UPLOAD_LIMIT = "100mb"
_MOST_WAITING, _MOST_SESSIONS = 100, 400


def build(shelf: Shelf, allow_training: bool = False, local: bool = False) -> gr.Blocks:
    """Builds the page.

    Args:
        shelf: The models to offer.
        allow_training: Whether visitors may train on this machine.
        local: Whether only this machine reaches the page.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(header(), elem_id="header")
        context = Context(shelf, gr.State(()), allow_training or local, local)
        with gr.Tabs(elem_id="tabs"):
            for label, name in TABS.items():
                with gr.Tab(label, id=name, elem_id=f"tab-{name}"):
                    importlib.import_module(f"tabs.{name}").build(context)
        endpoints.build(context)
        page.unload(context.traces.remove)
        page.unload(_forgetter(page))
    return page.queue(max_size=_MOST_WAITING)


def launch(options: argparse.Namespace) -> None:
    """Opens the page, then loads the models behind it, and serves until interrupted."""
    # Ended like an interruption, so that visitors' files go then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fetch_nothing()
    with workspace():
        shelf = Shelf()
        page = build(shelf, options.allow_training, is_local(options.host))
        page.launch(
            server_name=options.host,
            server_port=options.port,
            inbrowser=options.open,
            max_file_size=_UPLOAD_LIMIT,
            mcp_server=find_spec("mcp") is not None,
            app_kwargs=DOOR,
            state_session_capacity=_MOST_SESSIONS,
            run_history=False,
            enable_monitoring=False,
            theme=THEME,
            css_paths=FOLDER / "style.css",
            footer_links=["api", "settings"],
            ssr_mode=False,
            prevent_thread_lock=True,
        )
        shelf.load_in_background()
        page.block_thread()


def _forgetter(page: gr.Blocks) -> Callable[[gr.Request], Coroutine]:
    """Lets go of what a session has seen, which Gradio would keep for an hour and longer."""

    async def forget(request: gr.Request) -> None:
        page.state_holder.session_data.pop(request.session_hash, None)
        page.state_holder.time_last_used.pop(request.session_hash, None)

    return forget


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    launch(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
