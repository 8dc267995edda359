"""Several models on one image: their masks, where they agree, how good each is, files to keep.

NumPy in, NumPy out. Probabilities are computed once by `compare`; every threshold, filter and
choice of models after that works on them and runs no model.
"""

from typing import TYPE_CHECKING

from kerasunet.lazy import lazy_members

if TYPE_CHECKING:
    from kerasunet.comparison.comparing import (
        Answer as Answer,
        Candidate as Candidate,
        Choice as Choice,
        Comparison as Comparison,
        Score as Score,
        Verdict as Verdict,
        compare as compare,
        judge as judge,
        score as score,
        trained_parameters as trained_parameters,
        without_small_regions as without_small_regions,
    )
    from kerasunet.comparison.report import as_csv as as_csv, as_html as as_html, as_zip as as_zip
    from kerasunet.data.identification import guess_modality as guess_modality
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
