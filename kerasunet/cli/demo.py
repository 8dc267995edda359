"""Open the demo in a browser: every strategy side by side on your own image, offline."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="address to listen on, 0.0.0.0 for all (default: this machine only)")
    add("--port", type=int, help="port (default: the first free one from 7860)")
    add("--open", action="store_true", help="open the page in the browser")
    add(
        "--allow-training",
        action="store_true",
        help="let visitors fine-tune on this machine, also where others reach the page",
    )


def run(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(_folder()))
    try:
        app = importlib.import_module("app")
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "plotly"):
            raise
        raise ValueError(
            f'the demo needs {error.name}, which is not installed: pip install "kerasunet[demo]"'
        ) from None
    app.launch(options)
    return 0


def _folder() -> Path:
    """Where the demo is: in the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    installed = package / "demo"
    return installed if installed.is_dir() else package.parent / "demo"
