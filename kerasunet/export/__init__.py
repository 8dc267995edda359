"""Saved models for other runtimes, each checked against Keras before it gets its name."""

from kerasunet._lazy import lazy_members

_MEMBERS = {
    "Export": "kerasunet.export.exporting",
    "FORMATS": "kerasunet.export.formats",
    "Images": "kerasunet.export.images",
    "export": "kerasunet.export.exporting",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
