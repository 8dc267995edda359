"""The verb `demo`."""

from __future__ import annotations

import argparse

from kerasunet.cli.options import add_option
from kerasunet.options import Option

_EXTRA = ("gradio", "plotly")
"""What the extra `demo` installs."""


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="address to listen on, 0.0.0.0 for all (default: this machine only)")
    port = Option("port (default: the first free one from 7860)", int, 1, maximum=65535)
    add_option(parser, "port", port)
    add("--open", action="store_true", help="open the page in the browser")
    add(
        "--allow-training",
        action="store_true",
        help="let visitors from other machines fine-tune on this one",
    )


def run_demo(options: argparse.Namespace) -> int:
    """Open the demo in the browser: compare every strategy on your own image, offline."""
    try:
        from kerasunet.demo.server import launch
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise ValueError(
            f'the demo needs {error.name}, which is not installed: pip install "kerasunet[demo]"'
        ) from None
    launch(
        options.host,
        options.port,
        open_browser=options.open,
        allow_training=options.allow_training,
    )
    return 0
