"""Figures of a study, in one house style, from its results alone: no Keras, no TensorFlow.

`kerasunet.study.figures.mask_panel`, which shows what saved models find, is the exception.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "Drawing": "kerasunet.study.figures.style",
    "NotDrawnError": "kerasunet.study.figures.style",
    "Omission": "kerasunet.study.figures.render",
    "draw_all": "kerasunet.study.figures.render",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
