"""Inference: saved models on new images, the engines that run them, export to other runtimes."""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.inference import engines as engines, export as export
    from kerasunet.inference.annotation_choice import next_images as next_images, pool_of as pool_of
    from kerasunet.inference.segmenter import (
        Segmentation as Segmentation,
        Segmenter as Segmenter,
        SideBySide as SideBySide,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
