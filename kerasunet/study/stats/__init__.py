"""Statistics of studies, from their results alone: no Keras, no TensorFlow.

Everything that is estimated is a mean over test cases of one number a case (a Dice, a difference
of two, a weighted sum of several); `kerasunet.study.stats.bootstrap` tells how its interval comes
about, and what that interval does not know.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "AreaBetweenCurves": "kerasunet.study.stats.curves",
    "Claim": "kerasunet.study.stats.claims",
    "Comparison": "kerasunet.study.stats.comparison",
    "StudyStatistics": "kerasunet.study.stats.statistics",
    "area_between_curves": "kerasunet.study.stats.curves",
    "check_claims": "kerasunet.study.stats.claims",
    "compare": "kerasunet.study.stats.comparison",
    "compare_all": "kerasunet.study.stats.comparison",
    "planned_pairs": "kerasunet.study.stats.comparison",
    "summarize": "kerasunet.study.stats.summary",
    "summarize_auto": "kerasunet.study.stats.auto",
    "summarize_curves": "kerasunet.study.stats.curves",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
