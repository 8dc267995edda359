"""Figures of a study, in one house style, from its results alone: no Keras, no TensorFlow.

`kerasunet.study.figures.mask_panel`, which shows what saved models find, is the exception.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.study.figures.style import Drawing as Drawing, NotDrawnError as NotDrawnError
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
