"""The tab Study in a real browser, with made-up tables; and the results behind it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.browser import eventually
from helpers.study_makers import STRATEGIES, make_study

from kerasunet.layer_selection.evidence import QUESTIONS, START_WORDS, Evidence
from kerasunet.study.results import Scenario, read_results
from kerasunet.study.stats import StudyStatistics


def prepare(page) -> None:
    page.get_by_role("tab", name="Study").click()
    page.get_by_text("The published study").wait_for()
    page.locator("button:has-text('Numbers')").first.click()
    page.get_by_role("button", name="Open a study of your own").click()
    page.locator("#study-files").wait_for()


@pytest.fixture(scope="module")
def statistics(demo_place):
    return StudyStatistics(read_results(sorted((demo_place / "studies").iterdir())))


def _back_to_the_published(page) -> None:
    page.get_by_role("button", name="Back to the published results").click()
    page.get_by_text("The published study").wait_for()


def _choose_scenario(page, scenario: Scenario) -> None:
    page.locator("#study-ultrasound input").click()
    page.get_by_role("option", name=f"{scenario}").click()
    numbers = page.locator("#study-ultrasound-numbers")
    numbers.get_by_text(f"{scenario.data}, {scenario.train_size}").wait_for()


def _wait_for_points(page, figure: str, count: int) -> None:
    points = page.locator(f"#{figure} .js-plotly-plot .scatterlayer .points path.point")
    eventually(page, points.count, count)


@pytest.mark.browser
def test_it_says_what_to_tune_and_what_that_reached(page):
    known = Evidence.published()
    found = page.locator("#study-advice tbody tr")
    eventually(page, found.count, len(QUESTIONS))
    for row, (modality, images, start) in zip(found.all(), QUESTIONS, strict=True):
        cells = row.locator("th, td").all_inner_texts()
        advice = known.advice(modality, images, start)
        assert cells[1:4] == [str(images), advice.strategy, START_WORDS[start]]
        for one in advice.seen:
            told = f"{one.dice:.3f} ({one.lowest:.3f} to {one.highest:.3f}) on {one.data}"
            assert one.lowest < one.dice < one.highest and told in cells[4]


@pytest.mark.browser
def test_both_modalities_are_drawn_side_by_side(page):
    _wait_for_points(page, "study-ultrasound-strategies", len(STRATEGIES))
    _wait_for_points(page, "study-x-ray-strategies", len(STRATEGIES))
    # from either end: nothing, two counts of its own and one path, everything
    _wait_for_points(page, "study-ultrasound-curves", 2 * 5)
    note = page.locator("#study-note")
    note.get_by_text("47 finished runs").wait_for()
    assert "bus_bra, jsrt" in note.inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("train_size", [20, 80])
def test_the_numbers_are_those_of_the_tables(page, statistics, train_size):
    scenario = Scenario("bus_bra", train_size)
    _choose_scenario(page, scenario)
    table = page.locator("#study-ultrasound-numbers table")
    expected = statistics.summary_of(scenario)
    assert len(expected) == len(STRATEGIES)
    for row in expected.itertuples():
        cells = table.locator(f"tr:has(th:text-is('{row.Index}')) td").all_inner_texts()
        assert cells[0] == f"{row.mean:.3f}"
        assert cells[1] == f"{row.low:.3f} to {row.high:.3f}"


@pytest.mark.browser
def test_claims_have_their_verdicts(page, statistics):
    expected = statistics.claims
    found = page.locator("#study-claims tbody tr")
    eventually(page, found.count, len(expected))
    rows = found.all()
    for row, claim in zip(rows, expected, strict=True):
        cells = row.locator("th, td").all_inner_texts()
        assert cells[:2] == [claim.data, str(claim.train_size)]
        assert claim.verdict in cells[2]
    assert {"supported"} <= {claim.verdict for claim in expected}


@pytest.mark.browser
def test_a_study_of_ones_own_is_opened_by_its_files(page, tmp_path):
    study = make_study(tmp_path, "my_scans")
    upload = "#study-files input[type=file]"
    page.set_input_files(upload, [study / "cases.csv", study / "runs.csv"])
    page.locator("#study-note").get_by_text("Your study: 16 finished runs, on my_scans.").wait_for()
    page.locator("#study-x-ray").wait_for(state="hidden")
    _back_to_the_published(page)
    page.locator("#study-x-ray").wait_for()


@pytest.mark.browser
def test_a_study_of_ones_own_is_opened_by_its_folder(page, tmp_path):
    study = make_study(tmp_path, "shenzhen")
    page.locator("#study-folder input, #study-folder textarea").fill(str(study))
    page.get_by_role("button", name="Open", exact=True).click()
    page.locator("#study-note").get_by_text("Your study: 16 finished runs, on shenzhen.").wait_for()
    page.locator("#study-ultrasound").wait_for(state="hidden")
    _back_to_the_published(page)


@pytest.mark.browser
def test_what_is_no_study_is_refused_in_one_line_and_the_page_goes_on(page, tmp_path):
    folder = page.locator("#study-folder input, #study-folder textarea")
    folder.fill(str(tmp_path))
    page.get_by_role("button", name="Open", exact=True).click()
    alert = page.locator("#study-opened [role=alert]")
    alert.get_by_text("is not a study with results").wait_for()
    folder.fill(str(tmp_path / "nowhere"))
    page.get_by_role("button", name="Open", exact=True).click()
    alert.get_by_text("no such folder on this machine").wait_for()
    folder.fill(" ")
    page.get_by_role("button", name="Open", exact=True).click()
    alert.get_by_text("the path is empty").wait_for()
    field, told = folder.bounding_box(), alert.bounding_box()
    assert abs(told["y"] - field["y"]) < 200  # In sight of who has pressed the button.
    assert page.locator("#study-claims tbody tr").count() > 0
    _back_to_the_published(page)


@pytest.fixture
def shipped():
    from kerasunet.demo.study import shipped

    return shipped


@pytest.mark.parametrize("begun", [[], ["cases.csv"]])
def test_without_published_results_there_are_none(shipped, monkeypatch, tmp_path, begun):
    for name in begun:
        (tmp_path / "bus_bra").mkdir()
        (tmp_path / "bus_bra" / name).touch()
    monkeypatch.setenv("KERASUNET_STUDIES", str(tmp_path))
    assert shipped() is None


def test_a_study_that_has_only_begun_waits_for_its_first_run(shipped, monkeypatch, tmp_path: Path):
    make_study(tmp_path, "jsrt", missing=16)
    monkeypatch.setenv("KERASUNET_STUDIES", str(tmp_path))
    assert shipped() is None


def test_half_a_study_gives_what_it_has(shipped, monkeypatch, tmp_path: Path):
    make_study(tmp_path, "jsrt", missing=14)
    monkeypatch.setenv("KERASUNET_STUDIES", str(tmp_path))
    shown = shipped()
    assert list(shown.summary_of(Scenario("jsrt", 20)).index) == ["none", "contracting"]
    assert {claim.verdict for claim in shown.claims} == {"undecided"}


_WHILE_JAX_IS_IMPORTED = """
import sys, threading, time
from kerasunet.demo.study import shipped
assert "keras" not in sys.modules
thread = threading.Thread(target=lambda: __import__("keras"))
thread.start()
while thread.is_alive() and "jax" not in sys.modules:
    time.sleep(0.01)
if "jax" not in sys.modules:
    sys.exit("this TensorFlow imports no JAX")
assert not hasattr(sys.modules["jax"], "Array")
print(len(shipped().claims))
"""


@pytest.mark.slow
def test_statistics_wait_for_what_another_thread_imports(tmp_path):
    make_study(tmp_path / "studies", "bus_bra")
    (tmp_path / "jax.py").write_text("import time\ntime.sleep(5)\nclass Array: ...\n")
    done = subprocess.run(
        [sys.executable, "-c", _WHILE_JAX_IS_IMPORTED],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT))),
            "KERASUNET_STUDIES": str(tmp_path / "studies"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "imports no JAX" in done.stderr:
        pytest.skip("this TensorFlow imports no JAX")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
