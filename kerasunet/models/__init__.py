"""Saved models: a plain Keras file, a card beside it, a digest that ties them together.

`saved_models/NAME.keras` opens with `keras.models.load_model` and nothing else; `NAME.json` is its
card, `NAME.md` the same card for people. A model file can bring code. So every file is verified
before Keras opens it in safe mode, and a registered model must have the digest on its card.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.models.card_fields import (
        DataNote as DataNote,
        ImageRanges as ImageRanges,
        LeftOut as LeftOut,
        RecordedEvaluation as RecordedEvaluation,
        Span as Span,
        seen_in_words as seen_in_words,
    )
    from kerasunet.models.model_card import ModelCard as ModelCard
    from kerasunet.models.registry import (
        NATURAL as NATURAL,
        card as card,
        check as check,
        check_name as check_name,
        check_record as check_record,
        digest as digest,
        each_once as each_once,
        folder as folder,
        is_registered as is_registered,
        list as list,
        push as push,
        record as record,
        require_elsewhere as require_elsewhere,
        seen_images as seen_images,
        start_for as start_for,
        starts_for as starts_for,
    )
    from kerasunet.models.saving import (
        keep_file as keep_file,
        load as load,
        load_weights_into as load_weights_into,
        register as register,
        save as save,
        save_weights as save_weights,
        versions as versions,
    )
    from kerasunet.models.verification import (
        checked_model as checked_model,
        checked_weights as checked_weights,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
