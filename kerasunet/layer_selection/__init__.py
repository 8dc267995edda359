"""Layer selection: `auto` and `auto:search` find out from the training images what to fine-tune."""

from kerasunet import lazy_members

_MEMBERS = {
    "BlockNorm": "kerasunet.layer_selection.gradients",
    "BlockScore": "kerasunet.layer_selection.choice",
    "Choice": "kerasunet.layer_selection.choice",
    "Trial": "kerasunet.layer_selection.choice",
    "blocks_to_train": "kerasunet.layer_selection.choice",
    "choose": "kerasunet.layer_selection.selection",
    "choose_by_gradients": "kerasunet.layer_selection.gradients",
    "choose_by_search": "kerasunet.layer_selection.trials",
    "default_candidates": "kerasunet.layer_selection.trials",
    "relative_gradient_norms": "kerasunet.layer_selection.gradients",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
