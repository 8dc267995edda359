"""How strategies look in figures, in colours that show on light and on dark paper."""

from __future__ import annotations

from dataclasses import dataclass

GREY = "#7c8089"


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of Plotly; marker and line say again what the colour says."""

    colour: str
    marker: str
    line: str = "solid"


DIRECTIONS = {
    "shallow": Look("#0a84c1", "circle"),
    "deep": Look("#d55e00", "square", "dash"),
    "outer": Look("#009e73", "triangle-up", "dashdot"),
    "inner": Look("#c0679a", "diamond", "dot"),
}
WORDS = {
    "shallow": "from the shallow end",
    "deep": "from the deep end",
    "outer": "outer levels",
    "inner": "inner levels",
}
_NAMED = {
    "contracting": DIRECTIONS["shallow"],
    "expanding": DIRECTIONS["deep"],
    "bottleneck": DIRECTIONS["inner"],
    "auto": Look("#009e73", "star"),
    "none": Look(GREY, "circle-open"),
    "scratch": Look(GREY, "x"),
    "all": Look(GREY, "diamond"),
}


def look_of(strategy: str) -> Look:
    """How a strategy looks: its own look, that of its direction, or that of all others."""
    direction = strategy.partition(":")[0]
    return _NAMED.get(direction) or DIRECTIONS.get(direction) or Look(GREY, "cross")
