"""Statistics of studies, from their tables alone: no Keras, no TensorFlow.

Everything that is estimated is a mean over test cases of one number a case (a Dice, a difference
of two, a weighted sum of several); `kerasunet.study.stats.resampling` tells how its interval comes
about, and what that interval does not know.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "Area": "kerasunet.study.stats.curves",
    "Claim": "kerasunet.study.stats.claims",
    "Comparison": "kerasunet.study.stats.comparison",
    "Studies": "kerasunet.study.results",
    "area_between": "kerasunet.study.stats.curves",
    "auto_report": "kerasunet.study.stats.auto",
    "claims": "kerasunet.study.stats.claims",
    "compare": "kerasunet.study.stats.comparison",
    "compare_all": "kerasunet.study.stats.comparison",
    "curves": "kerasunet.study.stats.curves",
    "planned_pairs": "kerasunet.study.stats.comparison",
    "read_studies": "kerasunet.study.results",
    "summarize": "kerasunet.study.stats.grid",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
