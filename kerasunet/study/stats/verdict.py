"""The rule by which numbers become a verdict."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["supported", "contradicted", "undecided"]
LEVEL = 0.05


def verdict(low: float, high: float, p_adjusted: float | None = None) -> Verdict:
    """Judges an effect that is claimed to be above zero.

    Args:
        low: Lower bound of the 95 % interval of the effect; NaN where it is unknown.
        high: Upper bound.
        p_adjusted: p-value of the test after Holm's correction, where the claim has a test.

    Returns:
        `"supported"` where the interval lies above 0 and the test, if any, is below 0.05;
        `"contradicted"` where it lies below 0, the test likewise; else `"undecided"`.
    """
    if p_adjusted is not None and not p_adjusted < LEVEL:
        return "undecided"
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"
