"""The Gradio demo: compare every strategy on your own image. It needs no network."""

from __future__ import annotations

import os

from kerasunet import lazy_members
from kerasunet.processes import limit_malloc_arenas

# Here, because Gradio and TensorFlow read the environment and start threads on import, and
# Python imports this package before any module in it.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
limit_malloc_arenas()

_MEMBERS = {
    "build": "kerasunet.demo.server",
    "launch": "kerasunet.demo.server",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
