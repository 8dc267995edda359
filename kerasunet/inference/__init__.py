"""Inference: saved models on new images, the engines that run them, export to other runtimes."""

from kerasunet import lazy_members

_MEMBERS = {
    "Segmentation": "kerasunet.inference.segmenter",
    "Segmenter": "kerasunet.inference.segmenter",
    "SideBySide": "kerasunet.inference.segmenter",
    "engines": "kerasunet.inference.engines",
    "export": "kerasunet.inference.export",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
