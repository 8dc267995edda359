"""Two strategies, one over the other, with what differs in colour."""

from __future__ import annotations

import gradio as gr
from context import Context
from shown import SETTLED, Shown
from traces import new_file

from kerasunet.comparison import Choice, judge
from kerasunet.comparison.pictures import BOTH, FIRST_ONLY, SECOND_ONLY, draw_difference, png


class Pair:
    """The part of the page, and what happens in it while it is open."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open = gr.State(False)
        with gr.Accordion("Two strategies, one over the other", open=False) as self._part:
            with gr.Row():
                self._first = gr.Dropdown([], label="Left")
                self._second = gr.Dropdown([], label="Right")
            self._slider = gr.ImageSlider(
                label="Drag the handle",
                format="png",
                buttons=["fullscreen"],
                max_height=560,
                elem_id="compare-pair",
            )
            gr.HTML(_legend())

    @property
    def outputs(self) -> list:
        """The components that `choices` sets."""
        return [self._first, self._second]

    def connect(self, ticket: gr.State, threshold: gr.Slider, smallest: gr.Slider) -> None:
        self._inputs = [self._open, ticket, self._first, self._second, threshold, smallest]
        for event in (
            *(self._first.input, self._second.input),
            *(threshold.release, smallest.release),
        ):
            event(self._draw, self._inputs, self._slider, **SETTLED)
        opened = self._part.expand(lambda: True, None, self._open, **SETTLED)
        self.follow(opened)
        self._part.collapse(lambda: False, None, self._open, **SETTLED)

    def follow(self, event) -> None:
        """Draws anew after an event."""
        event.then(self._draw, self._inputs, self._slider, **SETTLED)

    def choices(self, now: Shown) -> dict:
        """What to choose among; the first and the last lie over each other."""
        ends = zip(self.outputs, (now.names[0], now.names[-1]), strict=True)
        return {part: gr.Dropdown(now.choices, value=name) for part, name in ends}

    def _draw(self, request: gr.Request, opened, ticket, first, second, threshold, smallest):
        shown = self._context.tickets.get(ticket)
        if not opened or shown is None or not {first, second} <= set(shown.names):
            return None
        masks = judge(shown.comparison, Choice(threshold, smallest, (first, second))).masks
        pictures = draw_difference(shown.comparison.image, masks[first], masks[second])
        paths = [new_file("difference.png", png(picture)) for picture in pictures]
        self._context.traces.keep(request, *paths)
        return tuple(str(path) for path in paths)


def _legend() -> str:
    meanings = {"only the left one": FIRST_ONLY, "only the right one": SECOND_ONLY, "both": BOTH}
    keys = (
        f'<span><i style="background:rgb{colour}"></i>{words}</span>'
        for words, colour in meanings.items()
    )
    return f'<p class="legend">{"".join(keys)}</p>'
