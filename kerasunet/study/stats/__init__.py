"""Statistics of studies, from their results alone: no Keras, no TensorFlow.

Every estimate is a mean over test cases of one number per case (a Dice, a difference of two, a
weighted sum of several); `kerasunet.study.stats.scores` explains how its interval is computed,
and what it does not cover.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.study.stats.claims import Claim as Claim, check_claims as check_claims
    from kerasunet.study.stats.comparison import (
        Comparison as Comparison,
        compare as compare,
        compare_all as compare_all,
        planned_pairs as planned_pairs,
        summarize_auto as summarize_auto,
    )
    from kerasunet.study.stats.summary import (
        AreaBetweenCurves as AreaBetweenCurves,
        StudyStatistics as StudyStatistics,
        area_between_curves as area_between_curves,
        seen_by_starts as seen_by_starts,
        summarize as summarize,
        summarize_curves as summarize_curves,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
