"""Saved models: a plain Keras file, a card beside it, a digest that ties them together.

`saved_models/NAME.keras` opens with `keras.models.load_model` and nothing else; `NAME.json` is its
card, `NAME.md` the same card for people. A model file can bring code. So every file is verified
before Keras opens it in safe mode, and a registered model must have the digest on its card.
"""

from kerasunet import lazy_members

_MEMBERS = {
    name: "kerasunet.models.registry"
    for name in (
        "Card",
        "DataNote",
        "card",
        "check",
        "check_name",
        "digest",
        "folder",
        "list",
        "load",
        "load_weights_into",
        "record",
        "register",
        "save",
        "save_weights",
        "versions",
    )
}
_MEMBERS |= {
    "checked_model": "kerasunet.models.verification",
    "checked_weights": "kerasunet.models.verification",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
