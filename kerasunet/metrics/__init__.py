"""Per-case evaluation of binary segmentation: metrics, calibration and bootstrap intervals.

Metrics are computed case by case with `case_metrics` and averaged with `summarize`. `METRICS`
names and defines each one; `POLICY` is the Markdown text, for documentation and model cards, of
what happens to empty masks and missed lesions.
"""

from kerasunet.metrics.bootstrap import Interval, bootstrap_interval
from kerasunet.metrics.calibration import expected_calibration_error
from kerasunet.metrics.cases import case_metrics
from kerasunet.metrics.overlap import dice, iou, precision, sensitivity
from kerasunet.metrics.policy import METRICS, POLICY, Metric
from kerasunet.metrics.surface import SurfaceDistances, assd, hd95, surface_distances
from kerasunet.metrics.table import summarize

__all__ = [
    "METRICS",
    "POLICY",
    "Interval",
    "Metric",
    "SurfaceDistances",
    "assd",
    "bootstrap_interval",
    "case_metrics",
    "dice",
    "expected_calibration_error",
    "hd95",
    "iou",
    "precision",
    "sensitivity",
    "summarize",
    "surface_distances",
]
