"""Per-case evaluation of binary segmentation: metrics, calibration and bootstrap intervals.

Metrics are computed case by case with `case_metrics` and averaged with `summarize`. `METRICS`
names and defines each one; `POLICY` is the Markdown text, for documentation and model cards, of
what happens to empty masks and missed lesions.
"""

from kerasunet import lazy_members

_MEMBERS = {
    "Interval": "kerasunet.metrics.summary",
    "METRICS": "kerasunet.metrics.policy",
    "Metric": "kerasunet.metrics.policy",
    "POLICY": "kerasunet.metrics.policy",
    "SurfaceDistances": "kerasunet.metrics.measures",
    "assd": "kerasunet.metrics.measures",
    "bootstrap_interval": "kerasunet.metrics.summary",
    "case_metrics": "kerasunet.metrics.summary",
    "dice": "kerasunet.metrics.measures",
    "expected_calibration_error": "kerasunet.metrics.measures",
    "hd95": "kerasunet.metrics.measures",
    "iou": "kerasunet.metrics.measures",
    "precision": "kerasunet.metrics.measures",
    "sensitivity": "kerasunet.metrics.measures",
    "summarize": "kerasunet.metrics.summary",
    "surface_distances": "kerasunet.metrics.measures",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
