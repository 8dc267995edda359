"""Saved models for other runtimes, each checked against Keras before it gets its name."""

from kerasunet import lazy_members

_MEMBERS = {
    "Export": "kerasunet.inference.export.exporting",
    "FORMATS": "kerasunet.inference.export.exporting",
    "Images": "kerasunet.inference.export.exporting",
    "export": "kerasunet.inference.export.exporting",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
