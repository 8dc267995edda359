"""Saved models: a plain Keras file, a card beside it, a digest that ties them together.

`saved_models/NAME.keras` opens with `keras.models.load_model` and nothing else; `NAME.json` is its
card, `NAME.md` the same card for people. A model file can bring code. So every file is verified
before Keras opens it in safe mode, and a registered model must have the digest on its card.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "DataNote": "kerasunet.models.model_card",
    "ModelCard": "kerasunet.models.model_card",
    "RecordedEvaluation": "kerasunet.models.model_card",
    "card": "kerasunet.models.registry",
    "check": "kerasunet.models.registry",
    "check_name": "kerasunet.models.registry",
    "checked_model": "kerasunet.models.verification",
    "checked_weights": "kerasunet.models.verification",
    "digest": "kerasunet.models.registry",
    "folder": "kerasunet.models.registry",
    "list": "kerasunet.models.registry",
    "load": "kerasunet.models.loading",
    "load_weights_into": "kerasunet.models.loading",
    "record": "kerasunet.models.registry",
    "register": "kerasunet.models.registry",
    "save": "kerasunet.models.saving",
    "save_weights": "kerasunet.models.saving",
    "versions": "kerasunet.models.saving",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
