"""kerasunet: which layers of a pre-trained U-Net should be fine-tuned?

A functional Keras U-Net whose blocks can be trained or frozen by name, training that compares such
strategies fairly, and models that plain Keras opens. Everything is imported when first used.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet import (
        data as data,
        metrics as metrics,
        models as models,
        strategies as strategies,
        training as training,
    )
    from kerasunet.freezing import describe as describe
    from kerasunet.inference import engines as engines
    from kerasunet.inference.segmenter import Segmenter as Segmenter, SideBySide as SideBySide
    from kerasunet.unet import UNet as UNet, set_trainable as set_trainable
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)

__version__ = "0.1.0"
