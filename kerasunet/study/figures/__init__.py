"""Figures of a study, in one house style, from its tables alone: no Keras, no TensorFlow."""

from kerasunet import lazy_members

_MEMBERS = {
    "Drawing": "kerasunet.study.figures.style",
    "NotDrawnError": "kerasunet.study.figures.style",
    "Omission": "kerasunet.study.figures.render",
    "Results": "kerasunet.study.figures.results",
    "draw_all": "kerasunet.study.figures.render",
    "read_results": "kerasunet.study.figures.results",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
