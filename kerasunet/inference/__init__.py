"""Saved models at work: one image or many, one model or several, in any engine or file format."""

from kerasunet import lazy_members

_MEMBERS = {
    "Segmentation": "kerasunet.inference.segmenter",
    "Segmenter": "kerasunet.inference.segmenter",
    "SideBySide": "kerasunet.inference.side_by_side",
    "engines": "kerasunet.inference.engines",
    "export": "kerasunet.inference.export",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
