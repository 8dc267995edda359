"""Per-case evaluation of binary segmentation: metrics, calibration and bootstrap intervals.

Metrics are computed case by case with `case_metrics` and averaged with `summarize`. `METRICS`
names and defines each one; `POLICY` is the Markdown text, for documentation and model cards, of
what happens to empty masks and missed lesions. Nothing in this file needs NumPy, so that the
command line can name metrics without importing it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasunet.processes import lazy_members
from kerasunet.schema import BOUND, COUNT, TEXT, each, or_null

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
    from kerasunet.metrics.summary import (
        bootstrap_interval as bootstrap_interval,
        case_metrics as case_metrics,
        mean_over_objects as mean_over_objects,
        summarize as summarize,
        summarize_objects as summarize_objects,
    )
else:
    __getattr__, __dir__, __all__ = lazy_members(__name__)
    __all__ += ["DETECTION_IOU", "METRICS", "POLICY", "SCORES", "WITHOUT_SPACING"]
    __all__ += ["Interval", "Metric", "bounds_in_words", "unit_in_words", "with_unknown_bounds"]


@dataclass(frozen=True)
class Metric:
    """How one metric is named, read and defined.

    Attributes:
        label: The name for tables and axes.
        higher_is_better: The direction of improvement.
        is_distance: Whether the value has a unit (px, or mm where the spacing is known).
        definition: The definition in one Markdown sentence.
    """

    label: str
    higher_is_better: bool
    is_distance: bool
    definition: str


METRICS: dict[str, Metric] = {
    "dice": Metric(
        "Dice",
        higher_is_better=True,
        is_distance=False,
        definition="2·|T∩P| / (|T| + |P|) over the pixels of the true mask T and of the "
        "predicted mask P (Dice, Ecology 1945).",
    ),
    "iou": Metric(
        "IoU",
        higher_is_better=True,
        is_distance=False,
        definition="|T∩P| / |T∪P|, the Jaccard index; equal to dice / (2 − dice).",
    ),
    "sensitivity": Metric(
        "Sensitivity",
        higher_is_better=True,
        is_distance=False,
        definition="|T∩P| / |T|, the share of lesion pixels that were found.",
    ),
    "precision": Metric(
        "Precision",
        higher_is_better=True,
        is_distance=False,
        definition="|T∩P| / |P|, the share of predicted pixels that are lesion.",
    ),
    "hd95": Metric(
        "HD95",
        higher_is_better=False,
        is_distance=True,
        definition="the larger of the two directed 95th percentiles of the surface distances (as "
        "in Metrics Reloaded and MONAI; MedPy takes one percentile of both directions pooled), "
        "linearly interpolated.",
    ),
    "assd": Metric(
        "ASSD",
        higher_is_better=False,
        is_distance=True,
        definition="the mean of the surface distances of both directions, pooled.",
    ),
    "ece": Metric(
        "ECE",
        higher_is_better=False,
        is_distance=False,
        definition="the expected calibration error of the foreground probability over all pixels "
        "of the image, in 15 bins of equal width (Naeini et al., AAAI 2015): the mean over pixels "
        "of |mean probability − share of lesion| of the pixel's bin. Most pixels of a medical "
        "image are sure background, so values are small and compare only between models on the "
        "same images.",
    ),
}
DETECTION_IOU = 0.1
"""IoU from which a lesion counts as detected."""
_EMPTY_MASKS = """\
Metrics are computed per case and then averaged over all cases. No case is dropped: every metric is
finite for every case, and which cases are averaged never depends on the prediction.

| true mask | predicted mask | outcome | dice, iou | sensitivity | precision | hd95, assd |
|---|---|---|---|---|---|---|
| empty | empty | true_negative | 1 | 1 | 1 | 0 |
| empty | not empty | false_alarm | 0 | 1 | 0 | image diagonal |
| lesion | empty | missed | 0 | 0 | 0 | image diagonal |
| lesion | elsewhere, no overlap | missed | 0 | 0 | 0 | measured |
| lesion | overlaps, IoU below 0.1 | missed | measured | measured | measured | measured |
| lesion | overlaps, IoU 0.1 or more | detected | measured | measured | measured | measured |

- A pixel is predicted where its probability is at or above the threshold.
- **Missed** means that the IoU of prediction and lesion is below 0.1, the overlap from
  which nnDetection (Baumgartner et al., MICCAI 2021) counts an object in a medical image as found:
  one touching pixel finds nothing. Measurements by version 0.1.0 counted it as found. With nothing
  predicted, HD95 and ASSD are the image diagonal √((height·row spacing)² + (width·column
  spacing)²), which is longer than any distance inside the image: on an image with a lesion,
  removing the prediction never improves them. A prediction that lies elsewhere has a distance,
  which is reported as measured; the lesion still counts as missed.
- **Sensitivity without a lesion** is 0/0. It is set to 1, whatever was predicted: no lesion pixel
  was missed. Left undefined, as in the Metrics Reloaded code, it would drop every case without a
  lesion from the average. A false alarm is charged in all other overlap and distance metrics.
- **Precision without a prediction** is 0/0 too. It is 0 where a lesion was there to find, for 1
  would reward predicting nothing, and 1 where there was none.
- **Surface distances** run from the center of each border pixel of one mask to the nearest border
  pixel center of the other. Border pixels are those removed by an erosion with the 4-neighbor
  cross; outside the image counts as background, so a lesion cut by the image edge has a border
  there. Spacing may differ between rows and columns.

Sources: Maier-Hein, Reinke et al., "Metrics reloaded", Nature Methods 2024; Reinke et al.,
"Understanding metric-related pitfalls in image analysis validation", Nature Methods 2024 (empty
masks: Extended Data Fig. 2b).
"""


def _definitions() -> str:
    return "\n".join(f"- **{metric.label}**: {metric.definition}" for metric in METRICS.values())


POLICY: str = f"{_EMPTY_MASKS}\n{_definitions()}\n"


WITHOUT_SPACING = "without_spacing"
"""How many images have no pixel spacing; in summaries only where others have one."""
_INTERVAL = dict.fromkeys(("mean", "low", "high"), BOUND)
_ONE: dict[str, Any] = {
    **{"dice": _INTERVAL, "hd95": _INTERVAL},
    **{"n": COUNT, "missed": COUNT, "unit": TEXT},
}
SCORES = {
    **_ONE,
    f"{WITHOUT_SPACING}?": COUNT,
    "objects?": or_null(each("", _ONE), "the scores of each object"),
}
"""What a summary as JSON has to hold at least, as `kerasunet.schema.faults` takes it."""


def with_unknown_bounds(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary as JSON has it, with NaN for bounds and means that JSON calls null."""
    return {
        name: {n: _with_unknown(v) for n, v in value.items()}
        if isinstance(value, Mapping)
        else value
        for name, value in summary.items()
    }


def _with_unknown(value: Any) -> Any:
    if isinstance(value, Mapping):  # The summary of one of several objects.
        return with_unknown_bounds(value)
    return math.nan if value is None else value


def unit_in_words(summary: Mapping[str, Any]) -> str:
    """Return the unit of distances, and why it is pixels if only some images have a spacing."""
    count = summary.get(WITHOUT_SPACING)
    why = f": {count} of {summary['n']} images have no pixel spacing" if count else ""
    return f"{summary['unit']}{why}"


@dataclass(frozen=True)
class Interval:
    """A mean over cases with its confidence interval.

    Attributes:
        mean: Mean over all cases.
        low: Lower bound; NaN where a single case (or group) leaves it unknown.
        high: Upper bound; NaN likewise.
        n: Number of cases.
    """

    mean: float
    low: float
    high: float
    n: int


def bounds_in_words(low: float, high: float, form: str = ".3f") -> str:
    """Return the ends of an interval; `unknown` where a single case or group leaves them so."""
    return "unknown" if math.isnan(low) or math.isnan(high) else f"{low:{form}} to {high:{form}}"
