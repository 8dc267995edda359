"""Figures of a study, in one house style, from its tables alone: no Keras, no TensorFlow."""

from kerasunet._lazy import lazy_members

_MEMBERS = {
    "Drawing": "kerasunet.study.figures.drawing",
    "NotDrawnError": "kerasunet.study.figures.drawing",
    "Omission": "kerasunet.study.figures.everything",
    "Results": "kerasunet.study.figures.results",
    "draw_all": "kerasunet.study.figures.everything",
    "read_results": "kerasunet.study.figures.results",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
