"""kerasunet: which layers of a pre-trained U-Net should be fine-tuned?

A functional Keras U-Net whose blocks can be trained or frozen by name, training that compares such
strategies fairly, and models that plain Keras opens. Everything is imported when first used.
"""

from kerasunet._lazy import lazy_members

__version__ = "0.1.0"

_MEMBERS = {
    "UNet": "kerasunet.unet",
    "set_trainable": "kerasunet.freezing",
    "describe": "kerasunet.freezing",
    "Segmenter": "kerasunet.segmenter",
    "SideBySide": "kerasunet.side_by_side",
    "data": "kerasunet.data",
    "engines": "kerasunet.engines",
    "metrics": "kerasunet.metrics",
    "strategies": "kerasunet.strategies",
    "training": "kerasunet.training",
    "zoo": "kerasunet.zoo",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
