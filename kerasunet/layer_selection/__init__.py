"""Layer selection: `auto` and `auto:search` find out from the training images what to fine-tune."""

from typing import TYPE_CHECKING

from kerasunet.lazy import lazy_members

if TYPE_CHECKING:
    from kerasunet.layer_selection.choice import (
        BlockScore as BlockScore,
        Choice as Choice,
        Trial as Trial,
        blocks_to_train as blocks_to_train,
    )
    from kerasunet.layer_selection.gradients import (
        BlockNorm as BlockNorm,
        choose_by_gradients as choose_by_gradients,
        relative_gradient_norms as relative_gradient_norms,
    )
    from kerasunet.layer_selection.selection import choose as choose
    from kerasunet.layer_selection.trials import (
        choose_by_search as choose_by_search,
        default_candidates as default_candidates,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
