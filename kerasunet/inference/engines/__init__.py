"""Inference engines: a saved U-Net compiled once, kept on disk, called with arrays."""

from kerasunet import lazy_members

_MEMBERS = {
    "ENGINES": "kerasunet.inference.engines.engine",
    "Engine": "kerasunet.inference.engines.engine",
    "NetworkSource": "kerasunet.inference.engines.engine",
    "chosen_engine": "kerasunet.inference.engines.engine",
    "folded": "kerasunet.inference.engines.graph",
    "installed_engines": "kerasunet.inference.engines.engine",
    "merged": "kerasunet.inference.engines.graph",
    "open_engine": "kerasunet.inference.engines.engine",
    "to_onnx": "kerasunet.inference.engines.onnx_graph",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
