"""Inference engines: a saved U-Net compiled once, kept on disk, called with arrays."""

from typing import TYPE_CHECKING

from kerasunet.lazy import lazy_members

if TYPE_CHECKING:
    from kerasunet.inference.engines.engine import (
        ENGINES as ENGINES,
        Engine as Engine,
        NetworkSource as NetworkSource,
        chosen_engine as chosen_engine,
        installed_engines as installed_engines,
        open_engine as open_engine,
    )
    from kerasunet.inference.engines.graph import folded as folded, merged as merged
    from kerasunet.inference.engines.onnx_graph import to_onnx as to_onnx
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
