"""Several models on one image: their masks, where they agree, how good each is, files to keep.

NumPy in, NumPy out. Probabilities are computed once by `compare`; every threshold, filter and
choice of models after that works on them and runs no model.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "Answer": "kerasunet.comparison.comparing",
    "Candidate": "kerasunet.comparison.comparing",
    "Comparison": "kerasunet.comparison.comparing",
    "compare": "kerasunet.comparison.comparing",
    "Choice": "kerasunet.comparison.comparing",
    "Verdict": "kerasunet.comparison.comparing",
    "judge": "kerasunet.comparison.comparing",
    "without_small_regions": "kerasunet.comparison.comparing",
    "Score": "kerasunet.comparison.comparing",
    "score": "kerasunet.comparison.comparing",
    "as_csv": "kerasunet.comparison.report",
    "as_html": "kerasunet.comparison.report",
    "as_zip": "kerasunet.comparison.report",
    "guess_modality": "kerasunet.data.modality",
    "trained_parameters": "kerasunet.comparison.comparing",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
