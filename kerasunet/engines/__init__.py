"""Inference engines: a saved U-Net compiled once, kept on disk, called with arrays."""

from kerasunet._lazy import lazy_members

_MEMBERS = {
    "ENGINES": "kerasunet.engines.opening",
    "Engine": "kerasunet.engines.engine",
    "Source": "kerasunet.engines.source",
    "folded": "kerasunet.engines.folding",
    "installed_engines": "kerasunet.engines.opening",
    "merged": "kerasunet.engines.merging",
    "open_engine": "kerasunet.engines.opening",
    "to_onnx": "kerasunet.engines.onnx_graph",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
