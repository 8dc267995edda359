"""Which layers to fine-tune, chosen from the training images: `auto` and `auto:search`."""

from kerasunet._lazy import lazy_members

_MEMBERS = {
    "BlockNorm": "kerasunet.choosing.gradients",
    "BlockScore": "kerasunet.choosing.choice",
    "Choice": "kerasunet.choosing.choice",
    "Trial": "kerasunet.choosing.choice",
    "blocks_to_train": "kerasunet.choosing.rule",
    "choose": "kerasunet.choosing.selection",
    "choose_by_gradients": "kerasunet.choosing.selection",
    "choose_by_search": "kerasunet.choosing.search",
    "default_candidates": "kerasunet.choosing.candidates",
    "relative_gradient_norms": "kerasunet.choosing.gradients",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
