"""Several models on one image: their masks, where they agree, how good each is, files to keep.

NumPy in, NumPy out. Probabilities are computed once by `compare`; every threshold, filter and
choice of models after that works on them and runs no model.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "Answer": "kerasunet.comparison.candidates",
    "Candidate": "kerasunet.comparison.candidates",
    "Comparison": "kerasunet.comparison.candidates",
    "compare": "kerasunet.comparison.candidates",
    "Choice": "kerasunet.comparison.scores",
    "Verdict": "kerasunet.comparison.scores",
    "judge": "kerasunet.comparison.scores",
    "without_small_regions": "kerasunet.comparison.scores",
    "Score": "kerasunet.comparison.scores",
    "score": "kerasunet.comparison.scores",
    "as_csv": "kerasunet.comparison.report",
    "as_html": "kerasunet.comparison.report",
    "as_zip": "kerasunet.comparison.report",
    "guess_modality": "kerasunet.data.modality",
    "trained_parameters": "kerasunet.comparison.candidates",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
