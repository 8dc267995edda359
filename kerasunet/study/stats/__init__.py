"""Statistics of studies, from their tables alone: no Keras, no TensorFlow.

Everything that is estimated is a mean over test cases of one number a case (a Dice, a difference
of two, a weighted sum of several); `kerasunet.study.stats.resampling` tells how its interval comes
about, and what that interval does not know.
"""

from kerasunet.study.stats.area import Area, area_between
from kerasunet.study.stats.auto import auto_report
from kerasunet.study.stats.claims import Claim, claims
from kerasunet.study.stats.comparison import Comparison, compare, compare_all, planned_pairs
from kerasunet.study.stats.curves import curves
from kerasunet.study.stats.reading import Studies, read_studies
from kerasunet.study.stats.summary import summarize

__all__ = [
    "Area",
    "Claim",
    "Comparison",
    "Studies",
    "area_between",
    "auto_report",
    "claims",
    "compare",
    "compare_all",
    "curves",
    "planned_pairs",
    "read_studies",
    "summarize",
]
