"""Several models on one image: their masks, where they agree, how good each is, files to keep.

NumPy in, NumPy out. Probabilities are computed once by `compare`; every threshold, filter and
choice of models after that works on them and runs no model.
"""

from kerasunet._lazy import lazy_members

_MEMBERS = {
    "Answer": "kerasunet.comparison.comparing",
    "Candidate": "kerasunet.comparison.comparing",
    "Comparison": "kerasunet.comparison.comparing",
    "compare": "kerasunet.comparison.comparing",
    "Choice": "kerasunet.comparison.masks",
    "Verdict": "kerasunet.comparison.masks",
    "judge": "kerasunet.comparison.masks",
    "without_small_regions": "kerasunet.comparison.masks",
    "Score": "kerasunet.comparison.scores",
    "score": "kerasunet.comparison.scores",
    "as_csv": "kerasunet.comparison.table",
    "as_html": "kerasunet.comparison.report",
    "as_zip": "kerasunet.comparison.archive",
    "guess_modality": "kerasunet.comparison.modality",
    "trained_parameters": "kerasunet.comparison.parameters",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
