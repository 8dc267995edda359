"""Adaptation: from a lab's folder to the start, the layers, an estimate and the model."""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.adapt.adapting import (
        adapt as adapt,
        registered as registered,
        require_name as require_name,
    )
    from kerasunet.adapt.answer import Answer as Answer
    from kerasunet.adapt.settings import (
        BUDGETS as BUDGETS,
        AdaptSettings as AdaptSettings,
        Listener as Listener,
    )
    from kerasunet.adapt.survey import load_cases as load_cases
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
