"""Layer selection: `auto` and `auto:search` choose what to fine-tune, from studies and trials."""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.layer_selection.evidence import (
        Belief as Belief,
        Evidence as Evidence,
        Finding as Finding,
        GroupedMean as GroupedMean,
        Weighed as Weighed,
        weigh as weigh,
    )
    from kerasunet.layer_selection.selection import (
        Choice as Choice,
        TrialListener as TrialListener,
        choose as choose,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
