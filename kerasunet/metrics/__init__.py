"""Per-case evaluation of binary segmentation: metrics, calibration and bootstrap intervals.

Metrics are computed case by case with `case_metrics` and averaged with `summarize`. `METRICS`
names and defines each one; `POLICY` is the Markdown text, for documentation and model cards, of
what happens to empty masks and missed lesions.
"""

from typing import TYPE_CHECKING

from kerasunet.processes import lazy_members

if TYPE_CHECKING:
    from kerasunet.metrics.measures import (
        SurfaceDistances as SurfaceDistances,
        area_mm2 as area_mm2,
        assd as assd,
        dice as dice,
        expected_calibration_error as expected_calibration_error,
        hd95 as hd95,
        iou as iou,
        precision as precision,
        sensitivity as sensitivity,
        surface_distances as surface_distances,
    )
    from kerasunet.metrics.policy import (
        DETECTION_IOU as DETECTION_IOU,
        METRICS as METRICS,
        POLICY as POLICY,
        SCORES as SCORES,
        WITHOUT_SPACING as WITHOUT_SPACING,
        Interval as Interval,
        Metric as Metric,
        bounds_in_words as bounds_in_words,
        unit_in_words as unit_in_words,
        with_unknown_bounds as with_unknown_bounds,
    )
    from kerasunet.metrics.summary import (
        bootstrap_interval as bootstrap_interval,
        case_metrics as case_metrics,
        mean_over_objects as mean_over_objects,
        summarize as summarize,
        summarize_objects as summarize_objects,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
