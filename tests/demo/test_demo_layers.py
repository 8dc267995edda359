"""The tab Layers in a real browser: blocks are switches; numbers, command and code are right."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest
from helpers.browser import (
    eventually,
    low_contrast,
    require_readable,
    watched_page,
)

from kerasunet.architecture import NetworkCosts
from kerasunet.cli import training
from kerasunet.strategies import NetworkLayout, parse

pytestmark = pytest.mark.browser
LAYOUT = NetworkLayout.unet()
NETWORK = NetworkCosts(LAYOUT)


def prepare(page) -> None:
    page.get_by_role("tab", name="Layers").click()
    page.wait_for_selector("#layers-unet button")


def _set(page, text: str) -> None:
    page.locator("#strategy input, #strategy textarea").fill(text)
    _wait_for_strategy(page, text)


def _wait_for_strategy(page, text: str) -> None:
    """Wait until the strategy is this, and the command says so."""
    page.wait_for_function(
        "text => document.querySelector('#strategy input, #strategy textarea').value === text",
        arg=text,
    )
    page.wait_for_function(
        """(end) => document.querySelector('#layers-command .cm-content')
          ?.innerText.trim().endsWith(end)""",
        arg=f"--layers {shlex.quote(text)}",
    )


def _block(page, name: str):
    return page.locator(f"#layers-unet button[data-name={name}]")


def _command(page) -> str:
    return page.locator("#layers-command .cm-content").inner_text().strip()


def _pressed(page) -> list[str]:
    return page.eval_on_selector_all(
        "#layers-unet button[aria-pressed=true]", "all => all.map((button) => button.dataset.name)"
    )


def _wait_for_pressed(page, *names: str) -> None:
    eventually(page, lambda: _pressed(page), list(names))


def test_blocks_are_switches_and_the_command_follows(page):
    _set(page, "shallow:3")
    _wait_for_pressed(page, "enc1", "enc2", "enc3")
    _block(page, "enc4").click()
    _wait_for_strategy(page, "shallow:4")
    _wait_for_pressed(page, "enc1", "enc2", "enc3", "enc4")
    _block(page, "enc1").click()
    _wait_for_strategy(page, "blocks:2-4")
    _wait_for_pressed(page, "enc2", "enc3", "enc4")
    assert _command(page) == "python scripts/finetune.py --layers blocks:2-4"
    eventually(page, lambda: "frozen" in _block(page, "enc1").inner_text(), True)
    assert "trains" in _label(page, "enc2")


def test_no_click_is_lost_however_fast(page):
    _set(page, "none")
    click = """(names) => names.forEach((name) =>
        document.querySelector(`#layers-unet button[data-name=${name}]`).click())"""
    page.evaluate(click, ["enc1", "dec3", "enc2", "bottleneck", "enc2"])
    _wait_for_strategy(page, "blocks:1,5,7")
    _wait_for_pressed(page, "enc1", "bottleneck", "dec3")
    _set(page, "deep:1")  # What is typed is what the next click starts from.
    page.evaluate(click, ["dec2", "dec3"])
    _wait_for_strategy(page, "deep:3")


def test_the_keyboard_reaches_every_block(page):
    _set(page, "none")
    _block(page, "dec2").focus()
    page.keyboard.press("Enter")
    _wait_for_strategy(page, "dec2")
    _wait_for_pressed(page, "dec2")
    page.keyboard.press("Tab")  # the order of the page is that of the data
    page.keyboard.press("Space")
    _wait_for_strategy(page, "deep:2")


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("contracting", "contracting"),
        ("deep:3", "deep:3"),
        ("inner:1", "bottleneck"),
        ("norm",) * 2,
    ],
)
def test_presets_give_their_strategy_with_its_numbers(page, preset, name):
    _set(page, "none")
    page.locator(f"#layers-presets button[data-strategy='{preset}']").click()
    _wait_for_strategy(page, preset)
    selected = parse(name).select(LAYOUT)
    facts = page.locator("#layers-facts")
    trained = f"{NETWORK.parameters(selected):,} of {NETWORK.parameters():,}"
    eventually(page, lambda: trained in _one_line(facts.inner_text()), True)
    cost = f"{NETWORK.step_cost(selected).total / 1e9:.2f} billion"
    eventually(page, lambda: cost in _one_line(facts.inner_text()), True)
    page.locator(f"#layers-presets button[data-strategy='{preset}'][aria-pressed=true]").wait_for()


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_single_layers_on_demand(page):
    _set(page, "shallow:3")
    page.locator("#layers-single button").first.wait_for(state="hidden")
    page.get_by_label("Single layers").check()
    page.locator("#layers-single button[data-name=enc2_conv1]").click()
    _wait_for_strategy(page, "shallow:3-enc2_conv1")
    mixed = page.locator("#layers-unet button[data-name=enc2][aria-pressed=mixed]")
    mixed.get_by_text("3 of 4 layers").wait_for()
    page.locator("#layers-single button[data-name=head]").click()
    _wait_for_strategy(page, "shallow:3+head-enc2_conv1")
    page.get_by_label("Single layers").uncheck()


def test_a_mistake_is_told_beside_the_strategy_and_forgotten_when_corrected(page):
    _set(page, "shallow:3")
    page.locator("#strategy input, #strategy textarea").fill("shallow:12")
    alert = page.locator("#strategy-problem [role=alert]")
    alert.wait_for()
    alert.get_by_text("this U-Net has 9 blocks, so K must be 1 to 9").wait_for()
    eventually(page, lambda: _command(page), "# Correct the fields above first.")
    _set(page, "shallow:2")
    alert.wait_for(state="detached")


_CLIPPED = """() => [...document.querySelectorAll("#layers-unet button")]
    .filter((button) => button.scrollWidth > button.clientWidth).map((b) => b.innerText)"""


def test_the_images_may_decide(page):
    _set(page, "auto")
    page.locator("#layers-facts").get_by_text("chosen from your training images").wait_for()
    _wait_for_pressed(page)
    assert page.evaluate(_CLIPPED) == []
    _set(page, "rgn")
    eventually(page, lambda: "measured rates" in _block(page, "enc1").inner_text(), True)
    assert page.evaluate(_CLIPPED) == []


SOFT = "contracting+0.1*expanding"
_LIGHTNESS = """(name) => {
  const paint = document.createElement("canvas").getContext("2d");
  paint.fillStyle = getComputedStyle(
    document.querySelector(`#layers-unet button[data-name=${name}]`)).backgroundColor;
  paint.fillRect(0, 0, 1, 1);
  return paint.getImageData(0, 0, 1, 1).data.slice(0, 3).reduce((sum, value) => sum + value);
}"""


def _label(page, name: str) -> str:
    return _block(page, name).get_attribute("aria-label")


def test_a_rate_is_told_in_words(page):
    _set(page, SOFT)
    eventually(
        page,
        lambda: _label(page, "dec4"),
        "dec4, 128 filters: trains at 0.1 times the rate",
    )
    assert _label(page, "enc1") == "enc1, 16 filters: trains"
    assert "trains at 0.1×" in _block(page, "dec4").inner_text()
    assert _pressed(page) == list(LAYOUT.blocks)
    _set(page, "3*enc1+0.5*dec2_norm1+0.1*enc2_conv1+enc2_norm1")
    eventually(page, lambda: _label(page, "enc1"), "enc1, 16 filters: trains at 3 times the rate")
    assert _label(page, "dec2").endswith("1 of 5 layers train at 0.5 times the rate")
    assert _label(page, "enc2").endswith("2 of 4 layers train at 0.1 to 1 times the rate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_rate_is_a_shade(page, demo_url, scheme):
    other = watched_page(page.context.browser, viewport={"width": 1280, "height": 1000})
    other.goto(f"{demo_url}/?__theme={scheme}")
    other.get_by_role("tab", name="Layers").click()
    _set(other, "enc1+0.5*enc2+0.1*enc3+0.01*enc4+0.001*bottleneck")
    _wait_for_pressed(other, "enc1", "enc2", "enc3", "enc4", "bottleneck")
    blocks = ["enc1", "enc2", "enc3", "enc4", "bottleneck", "dec4"]

    def is_graded() -> bool:
        shades = [other.evaluate(_LIGHTNESS, name) for name in blocks]
        ordered = sorted(shades, reverse=scheme == "dark")
        return shades == ordered and len(set(shades)) == len(shades)

    eventually(other, is_graded, True)
    eventually(other, lambda: low_contrast(other), [])
    assert other.evaluate(_CLIPPED) == []
    other.close()


def test_single_layers_show_their_rates(page):
    _set(page, SOFT)
    page.get_by_label("Single layers").check()
    layer = page.locator("#layers-single button[data-name=dec4_conv1]")
    eventually(page, lambda: "0.1 times the rate" in layer.get_attribute("aria-label"), True)
    tops = page.eval_on_selector_all(
        "#layers-single [role=group]:first-child button", "all => all.map((b) => b.offsetTop)"
    )
    assert len(set(tops)) == 1  # One row for each block.
    page.get_by_label("Single layers").uncheck()


def test_a_click_keeps_the_other_rates(page):
    _set(page, SOFT)
    _wait_for_pressed(page, *LAYOUT.blocks)
    _block(page, "dec4").click()
    _wait_for_strategy(page, "contracting+0.1*deep:3")
    _block(page, "dec4").click()
    _wait_for_strategy(page, "shallow:6+0.1*deep:3")


def _press(page, caption: str) -> None:
    page.locator("#layers-presets").get_by_text(caption, exact=True).click()


def _turn(page, steps: int) -> None:
    """Move the slider by so many hundredths, with the keyboard."""
    page.locator("#layers-other-rate input[type=range]").focus()
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")


def test_the_slider_gives_the_other_path_a_rate(page):
    _set(page, "shallow:2")
    _turn(page, 10)
    preset = page.locator("#layers-presets button[data-strategy='contracting+0.1*expanding']")
    preset.wait_for()
    assert _command(page).endswith("--layers shallow:2")  # No path: it stays.
    _press(page, "contracting")
    _wait_for_strategy(page, SOFT)
    page.locator(f"#layers-presets button[data-strategy='{SOFT}'][aria-pressed=true]").wait_for()
    _press(page, "expanding")
    _wait_for_strategy(page, "expanding+0.1*contracting")
    _press(page, "bottleneck")
    _wait_for_strategy(page, "bottleneck")
    _press(page, "contracting")
    _wait_for_strategy(page, SOFT)
    _turn(page, -5)
    _wait_for_strategy(page, "contracting+0.05*expanding")
    _turn(page, -5)
    _wait_for_strategy(page, "contracting")
    _wait_for_pressed(page, *LAYOUT.blocks[:5])


def test_soft_strategies_have_cost_command_python_and_findings(page):
    _set(page, SOFT)
    facts = page.locator("#layers-facts")
    trained = f"{NETWORK.parameters():,} of {NETWORK.parameters():,}"
    eventually(page, lambda: trained in _one_line(facts.inner_text()), True)
    assert shlex.split(_command(page))[-1] == SOFT
    shown = page.locator("#layers-python .cm-content")
    eventually(page, lambda: f'layers="{SOFT}"' in shown.inner_text(), True)
    code, names = shown.inner_text(), {}
    exec(code[code.index("import kerasunet") :], names)
    rows = names["kerasunet"].describe(names["model"]).rows
    assert {row.rates for row in rows if row.block.startswith("dec")} == {(0.1,)}
    page.locator("#findings").get_by_text("contracting, which differs in 21 layers.").wait_for()


def test_statistics_follow_though_nothing_trains(page):
    _set(page, "head+statistics")
    eventually(page, lambda: "statistics only" in _block(page, "enc1").inner_text(), True)
    assert _label(page, "enc1").endswith("frozen, but its statistics follow the data")
    assert page.evaluate(_CLIPPED) == []
    _set(page, "statistics")
    page.locator("#layers-facts").get_by_text("the forward pass alone").wait_for()
    _wait_for_pressed(page)


def test_a_weight_at_two_rates_is_told_beside_the_strategy(page):
    page.locator("#strategy input, #strategy textarea").fill("shallow:3+0.1*contracting")
    page.locator("#strategy-problem").get_by_text("is claimed at 1 and at 0.1").wait_for()
    _set(page, "shallow:3")


def test_command_and_python_can_be_run_as_they_stand(page):
    _set(page, "shallow:3&norm")
    words = shlex.split(_command(page))
    parser = argparse.ArgumentParser()
    training.add_finetune_arguments(parser)
    assert words[:2] == ["python", "scripts/finetune.py"]
    assert parser.parse_args(words[2:]).layers == "shallow:3&norm"
    shown = page.locator("#layers-python .cm-content")
    eventually(page, lambda: 'trainable="shallow:3&norm"' in shown.inner_text(), True)
    code = shown.inner_text()
    alone = code[code.index("import kerasunet") :]
    names: dict = {}
    exec(alone, names)
    selected = parse("shallow:3&norm").select(LAYOUT)
    assert names["kerasunet"].describe(names["model"]).trained == NETWORK.parameters(selected)
    compile(code, "copied", "exec")


def test_the_nearest_studied_strategy_is_told(page):
    _set(page, "shallow:3+dec1_up")
    found = page.locator("#findings")
    found.get_by_text("shallow:3, which differs in 1 layer.").wait_for()
    text = found.inner_text()  # One piece of HTML, shown at once.
    assert text.count("bus_bra") == 2
    assert "jsrt" in text


def test_another_network_has_its_own_blocks(open_page):
    other = open_page()
    other.get_by_role("button", name="Network and data").click()
    other.get_by_label("Start from").first.click()
    other.get_by_role("option", name="tiny").click()
    other.wait_for_function("document.querySelectorAll('#layers-unet button').length === 3")
    eventually(other, lambda: "--init tiny" in _command(other), True)
    assert other.faults == []
    other.close()


def test_a_client_asks_for_a_strategy(demo_url):
    from gradio_client import Client

    client = Client(demo_url, verbose=False)
    told = client.predict("blocks:1,2,3", api_name="/describe_strategy")
    assert told["strategy"] == "blocks:1,2,3"
    assert told["trained"] == NETWORK.parameters(parse("shallow:3").select(LAYOUT))
    assert told["layers"][0] == "enc1_conv1"
    assert told["command"].startswith("python scripts/finetune.py --layers")
    with pytest.raises(Exception, match="did you mean shallow"):
        client.predict("shalow:3", api_name="/describe_strategy")


_SHOWN = {
    "Layers": "#layers-unet button",
    "Study": "#tab-study .js-plotly-plot .points path",
    "Fine-tune": "#finetune-zip",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_every_other_tab(page, demo_url, scheme):
    other = watched_page(page.context.browser, viewport={"width": 390, "height": 800})
    other.goto(f"{demo_url}/?__theme={scheme}")
    for name, shown in _SHOWN.items():
        other.set_viewport_size({"width": 390, "height": 800})
        other.get_by_role("tab", name=name, exact=True).first.click()
        other.locator(shown).first.wait_for()
        assert other.locator(".modebar-container:visible").count() == 0
        require_readable(other)
    assert other.faults == []
    other.close()
