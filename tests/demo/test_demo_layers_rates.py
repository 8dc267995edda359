"""Rates and clicks without a browser: what the tab Layers makes of a soft strategy."""

from __future__ import annotations

import random

import pytest

from kerasunet.architecture import Architecture
from kerasunet.demo.layers import _FIRST, _find, _show, describe_strategy
from kerasunet.demo.layers_diagram import diagram_html
from kerasunet.demo.layers_network import (
    cost_html,
    led_by,
    selection,
    start_from,
    step_cost,
    with_other_path,
)
from kerasunet.demo.study import _note, shipped
from kerasunet.demo.study_figures import draw_strategies, findings, nearest, numbers_table
from kerasunet.strategies import parse

SOFT = "contracting+0.1*expanding"


@pytest.fixture(scope="module")
def start():
    return start_from("scratch", 128, Architecture())


@pytest.mark.parametrize(
    ("strategy", "name", "after"),
    [
        (SOFT, "dec4", "contracting+0.1*deep:3"),
        (SOFT, "dec1_up", "contracting+0.1*(expanding-dec1_up)"),
        ("contracting+0.1*deep:3", "dec4", "shallow:6+0.1*deep:3"),
        ("expanding+statistics", "dec4", "deep:3+statistics"),
        ("shallow:1+statistics", "enc1", "statistics"),
        ("statistics", "bottleneck", "bottleneck+statistics"),
        ("0.1*norm+bias", "head", "bias+head+0.1*norm"),
        ("0.1*enc1", "enc1", "none"),
    ],
)
def test_a_click_leaves_the_other_rates_as_they_are(start, strategy, name, after):
    assert start.toggled(strategy, name) == after


def test_clicks_in_any_order_lose_no_rate(start):
    chance = random.Random(0)
    layout = start.layout
    for _ in range(60):
        rates = chance.choices([0.003, 0.1, 0.25, 1, 4], k=3)
        text = "+".join(
            f"{rate}*{block}"
            for rate, block in zip(rates, chance.sample(layout.blocks, 3), strict=True)
        )
        text += chance.choice(["", "+statistics", "+statistics&contracting"])
        name = chance.choice([*layout.blocks, *layout.layers])
        before, after = start.select(text), start.select(start.toggled(text, name))
        clicked = parse(name).select(layout)
        full = {} if clicked <= before.weights else dict.fromkeys(clicked, 1)
        assert after.rates == {w: r for w, r in before.rates.items() if w not in clicked} | full
        frozen = {w.layer for w in clicked}
        assert set(before.statistics) - frozen <= set(after.statistics)


@pytest.mark.parametrize("rate", [0, 0.01, 0.1, 0.37, 1])
@pytest.mark.parametrize("path", ["contracting", "expanding"])
def test_a_path_is_known_by_its_lead_at_every_rate_of_the_other(start, path, rate):
    text = with_other_path(path, rate)
    assert led_by(text) == path
    rates = start.select(text).rates
    own = parse(path).select(start.layout)
    assert {rates[w] for w in own} == {1}
    assert {rates.get(w, 0) for w in start.layout.weights if w not in own} == {rate}


@pytest.mark.parametrize(
    "text", ["shallow:3", "contracting-enc1", "contracting+dec1", "0.1*expanding", f"{SOFT}&norm"]
)
def test_other_strategies_are_no_path(text):
    assert led_by(text) is None


def test_a_rate_changes_no_cost_and_statistics_cost_the_forward_pass(start):
    everything = step_cost(start.select("all"), start)
    assert step_cost(start.select(SOFT), start) == everything
    forward = start.network.step_cost(start.layout.weights).forward
    assert step_cost(start.select("statistics"), start) == forward
    assert step_cost(start.select("none"), start) == 0


class _Studied:
    """As much of a study's statistics as `nearest` reads."""

    def __init__(self, *strategies: str) -> None:
        import pandas as pd

        self.summary = pd.DataFrame({"strategy": strategies})
        self.results = type("Results", (), {"depth": 4})()


@pytest.mark.parametrize(
    ("strategy", "found"),
    [
        (SOFT, "contracting"),
        ("contracting+0.9*expanding", "all"),
        ("0.01*all", "none"),
        ("expanding+statistics", "expanding"),
    ],
)
def test_the_nearest_strategy_is_the_one_with_the_nearest_rates(start, strategy, found):
    studied = _Studied("none", "all", "contracting", "expanding", "auto")
    assert nearest(start.select(strategy), strategy, studied) == found


def test_statistics_make_a_difference(start):
    plain, moving = start.select("expanding"), start.select("expanding+statistics")
    assert {layer for layer, _ in plain.difference(moving)} == set(moving.statistics)
    assert selection("auto", start.layout) is None


def test_a_client_is_told_the_rates():
    told = describe_strategy(f"{SOFT}+statistics", init="scratch")
    assert told["rates"]["enc1_conv1"] == [1]
    assert told["rates"]["head"] == [0.1]
    assert told["statistics"] == []
    frozen = describe_strategy("head+statistics", init="scratch")
    assert frozen["layers"] == ["head"] and "enc1_norm1" in frozen["statistics"]
    assert describe_strategy("auto", init="scratch")["rates"] is None


def test_rgn_trains_every_kernel_at_rates_that_nobody_knows_yet(start):
    selected = start.select("rgn")
    assert selected.weights == parse("kernel").select(start.layout)
    assert selected != start.select("kernel") != start.select("rgn^2") != selected
    drawn = diagram_html(selected, start)
    assert drawn.count("measured rates") == len(start.layout.blocks)
    assert "Rates are measured anew in every epoch." in cost_html(selected, start, 8)
    told = describe_strategy("rgn", init="scratch")
    assert (told["rates"], len(told["layers"])) == (None, 23)
    assert told["trained"] == describe_strategy("kernel", init="scratch")["trained"]
    assert nearest(selected, "rgn", _Studied("all", "kernel")) is None
    assert nearest(selected, "rgn", _Studied("all", "rgn")) == "rgn"
    assert nearest(start.select("kernel"), "kernel", _Studied("rgn", "all")) == "all"


@pytest.mark.parametrize("strategy", ["auto", "auto:search"])
def test_what_auto_was_in_the_published_study_is_not_passed_off_as_todays(
    start, strategy, monkeypatch
):
    monkeypatch.delenv("KERASUNET_STUDIES", raising=False)
    assert nearest(None, "auto", _Studied("none", "auto")) is None
    found = findings(start.select(strategy), strategy, shipped())
    assert f"says nothing about <code>{strategy}</code>" in found
    assert "0.632" not in found and "<code>3*shallow:4</code>" in found


def test_the_published_figures_say_what_auto_chose_then(monkeypatch):
    monkeypatch.delenv("KERASUNET_STUDIES", raising=False)
    studied = shipped()
    scenario = studied.results.scenarios[0]
    (dots,) = draw_strategies(studied, scenario).data
    assert "auto: blocks:1" in dots.y and "auto" not in dots.y
    assert "<th scope=row>auto: blocks:1</th>" in numbers_table(studied, scenario)
    assert "earlier rule" in _note(studied, published=True)
    assert "earlier rule" not in _note(studied, published=False)


def test_what_is_no_strategy_leaves_nothing_of_the_one_before():
    given = {**_FIRST, "init": "scratch", "strategy": "foo"}
    names = ["problem", "diagram", "presets", "facts", "command", "snippet"]
    shown = dict(zip(names, _show(given, names), strict=True))
    assert "foo" in shown["problem"]
    assert shown["facts"] == _find(given) == ""
    assert shown["command"] == shown["snippet"] == "# Correct the fields above first."
    assert shown["diagram"].count(": there is no such strategy") == 9
    assert 'aria-pressed="true"' not in shown["presets"]
