"""Figures of studies: what they show, that nothing is cut off or covered, files, omissions."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers.study_tables import write_study
from matplotlib.text import Annotation, Text
from PIL import Image

from kerasunet.study.figures.block_gains import gains_of
from kerasunet.study.figures.mask_panel import PanelRow, draw_mask_panel
from kerasunet.study.figures.style import spread
from kerasunet.study.report import draw_all
from kerasunet.study.results import Scenario, read_results
from kerasunet.study.stats import StudyStatistics

pytestmark = pytest.mark.filterwarnings("error:::kerasunet.*")
NAMES = [
    *("blocks", "contracting-expanding", "training-images"),
    *("network", "cost", "forest"),
]
STRATEGIES = (
    *("none", "scratch", "all", "auto", "contracting", "expanding"),
    *("shallow:1", "shallow:2", "shallow:4", "deep:1", "deep:3", "deep:4", "outer:1", "inner:2"),
    *("auto:search", "blocks:2", "shallow:1&norm"),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two studies of a U-Net of depth 2: five blocks, shallow:3 is contracting."""
    folder = tmp_path_factory.mktemp("studies")
    shape = {"strategies": STRATEGIES, "depth": 2, "folds": (0, 1), "cases_per_fold": 12}
    directories = [write_study(folder / data, data, **shape) for data in ("bus_bra", "jsrt")]
    return read_results(directories)


@pytest.fixture(scope="module")
def drawings(results):
    found, omissions = draw_all(StudyStatistics(results))
    assert omissions == ()
    return {drawing.name: drawing for drawing in found}


def draw(study):
    return draw_all(StudyStatistics(read_results([study])))


def mean_dice(results, data, train_size, strategy):
    cases = results.cases
    rows = cases[(cases.data == data) & (cases.train_size == train_size)]
    return rows[rows.strategy == strategy].dice.mean()


def texts_of(figure):
    """Visible texts with their boxes in pixels."""
    figure.draw_without_rendering()
    drawn = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    return [(text, Text.get_window_extent(text)) for text in drawn]


@pytest.mark.slow
def test_every_figure_is_drawn(drawings):
    assert list(drawings) == NAMES
    assert all(drawing.caption and drawing.title for drawing in drawings.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off(drawings, name):
    figure = drawings[name].figure
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) > -0.02
    assert drawn.x1 < width + 0.02 and drawn.y1 < height + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cost", "training-images", "contracting-expanding"])
def test_names_cover_no_other_name(drawings, name):
    found = [(t, box) for t, box in texts_of(drawings[name].figure) if isinstance(t, Annotation)]
    words = [(t, box) for t, box in found if not t.get_text().isdecimal()]
    assert len(words) > 6
    for (first, a), (second, b) in itertools.combinations(words, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (first.get_text(), second.get_text())


@pytest.mark.slow
def test_every_strategy_is_named_or_numbered_in_the_cost_figure(drawings):
    axes = drawings["cost"].figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    counts = sorted(text for text in texts if text.isdecimal())
    assert counts == ["1", "1", "1", "2", "2", "3", "4", "4"]
    names = {s for s in STRATEGIES if ":" not in s} | {"auto:search", "blocks:2", "shallow:1&norm"}
    assert {text.strip() for text in texts} - set(counts) == names


def test_a_run_that_was_held_up_does_not_move_its_strategy_in_the_cost_figure(tmp_path):
    shape = {"strategies": ("none", "all", "contracting"), "folds": (0, 1, 2), "train_sizes": (20,)}
    study = write_study(tmp_path, cases_per_fold=5, **shape)
    runs = pd.read_csv(study / "runs.csv")
    middle = runs[runs.strategy == "all"].seconds.median()
    runs.loc[runs[runs.strategy == "all"].seconds.idxmax(), "seconds"] = 3600
    runs.to_csv(study / "runs.csv", index=False)
    (cost,) = [drawing for drawing in draw(study)[0] if drawing.name == "cost"]
    assert re.search(rf"all [0-9,]+ parameters, {middle:.0f} s, Dice", cost.alt)


@pytest.mark.slow
def test_no_tick_is_labeled_in_markup(tmp_path):
    strategies = ("none", "contracting", "expanding", "all")
    study = write_study(tmp_path, "busi", strategies, folds=(0,), cases_per_fold=5)
    for drawing in draw(study)[0]:
        assert not [
            text.get_text() for text, _ in texts_of(drawing.figure) if "$" in text.get_text()
        ]


@pytest.mark.slow
def test_curves_go_through_the_paths_and_meet_in_none_and_all(results, drawings):
    axes = drawings["blocks"].figure.axes[0]
    assert axes.get_title(loc="left") == "Ultrasound: bus_bra, 20 images"
    lines = {
        line.get_label().split()[0]: line for line in axes.lines if " first " in line.get_label()
    }
    assert set(lines) == {"shallow", "deep", "outer", "inner"}
    points = {name: (np.rint(x), y) for name, line in lines.items() for x, y in [line.get_data()]}
    assert list(points["shallow"][0]) == [0, 1, 2, 3, 4, 5]
    assert list(points["deep"][0]) == [0, 1, 2, 3, 4, 5]
    means = {s: pytest.approx(mean_dice(results, "bus_bra", 20, s)) for s in STRATEGIES}
    assert points["shallow"][1][3] == means["contracting"]
    assert points["deep"][1][2] == means["expanding"]
    for _, y in points.values():
        assert (y[0], y[-1]) == (means["none"], means["all"])


@pytest.mark.slow
def test_alternative_texts_tell_the_numbers(results, drawings):
    value = mean_dice(results, "jsrt", 80, "expanding")
    for name in ("blocks", "training-images", "cost"):
        assert f"{value:.3f}" in drawings[name].alt
    difference = value - mean_dice(results, "jsrt", 80, "contracting")
    told = f"X-ray: jsrt, 80 images: contracting minus expanding −{difference:.3f}"
    assert told in drawings["contracting-expanding"].alt


def test_gain_of_a_block_is_the_difference_it_makes_in_its_order(results):
    gains = gains_of(results, Scenario("bus_bra", 80))
    assert list(gains["shallow"]) == ["enc1", "enc2", "bottleneck", "dec2", "dec1"]
    assert list(gains["deep"]) == ["dec1", "dec2", "bottleneck", "enc2", "enc1"]
    assert "alone" not in gains
    by = {
        ("shallow", "bottleneck"): ("contracting", "shallow:2"),
        ("deep", "dec2"): ("expanding", "deep:1"),
        ("deep", "enc1"): ("all", "deep:4"),
    }
    for (order, block), (more, less) in by.items():
        expected = mean_dice(results, "bus_bra", 80, more) - mean_dice(results, "bus_bra", 80, less)
        assert gains[order][block].difference == pytest.approx(expected, abs=1e-9)
        assert gains[order][block].low < expected < gains[order][block].high


def test_gains_of_blocks_alone_are_told_where_they_were_run(tmp_path):
    strategies = ("none", "enc1", "enc2", "dec2", "dec1")
    study = write_study(tmp_path, strategies=strategies, depth=2, folds=(0,), train_sizes=(20,))
    results = read_results([study])
    gains = gains_of(results, Scenario("bus_bra", 20))
    assert list(gains["alone"]) == ["enc1", "enc2", "dec2", "dec1"]
    expected = mean_dice(results, "bus_bra", 20, "dec2") - mean_dice(results, "bus_bra", 20, "none")
    assert gains["alone"]["dec2"].difference == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_files_are_the_same_bytes_each_time_and_tell_what_they_show(drawings, tmp_path):
    drawing = drawings["forest"]
    first, second = drawing.write(tmp_path / "a"), drawing.write(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    with Image.open(first[0]) as image:
        assert image.width >= 1400 and image.info["Description"] == drawing.alt
        assert image.info["Comment"] == drawing.caption
    assert ElementTree.parse(first[1]).getroot().tag.endswith("svg")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategies", "sizes", "left_out"),
    [
        (("none",), (20,), [*NAMES[:3], "network", "cost"]),
        (("none", "all"), (20, 80), ["blocks", "contracting-expanding", "network"]),
        (("contracting", "expanding"), (20,), ["blocks", "training-images", "network"]),
        (("shallow:1", "all"), (20,), ["contracting-expanding", "training-images", "network"]),
    ],
)
def test_what_cannot_be_drawn_is_left_out_with_a_reason(tmp_path, strategies, sizes, left_out):
    study = write_study(tmp_path, strategies=strategies, train_sizes=sizes, folds=(3,))
    found, omissions = draw(study)
    assert [drawing.name for drawing in found] == [n for n in NAMES if n not in left_out]
    assert len(omissions) == len(left_out) and all(omission.reason for omission in omissions)


@pytest.mark.slow
def test_a_single_case_a_strategy_has_no_interval_but_figures(tmp_path):
    study = write_study(tmp_path, strategies=STRATEGIES, depth=2, folds=(0,), cases_per_fold=1)
    found, _ = draw(study)
    assert [drawing.name for drawing in found] == NAMES


@pytest.mark.slow
def test_data_may_have_any_name(tmp_path):
    name = "my $data$ <&> with a name that goes on and on and on"
    strategies = ("none", "contracting", "expanding", "all")
    study = write_study(tmp_path, name, strategies, folds=(0, 1), cases_per_fold=5, depth=2)
    for drawing in draw(study)[0]:
        texts = [text.get_text() for text, _ in texts_of(drawing.figure)]
        assert any("my $data$ <&> with a name t…" in text for text in texts)


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_spread_by_the_least_squares(seed):
    from scipy.optimize import minimize

    wanted = np.random.default_rng(seed).uniform(0, 6, 7)
    found = spread(wanted, 1.0)
    order = np.argsort(wanted)
    assert (np.diff(found[order]) >= 1 - 1e-9).all()
    gaps = {"type": "ineq", "fun": lambda x: np.diff(x[order]) - 1}
    best = minimize(lambda x: ((x - wanted) ** 2).sum(), found, constraints=[gaps])
    assert ((found - wanted) ** 2).sum() <= best.fun + 1e-6
    assert np.array_equal(spread([9.0, 1.0, 5.0], 1.0), [9.0, 1.0, 5.0])


def test_panel_has_a_row_a_case_and_a_column_a_model():
    image = np.full((40, 60), 120.0, np.float32)
    truth = np.zeros((40, 60), bool)
    truth[10:30, 20:40] = True
    masks = {"none": np.zeros_like(truth), "all": truth}
    rows = [
        PanelRow(
            kind, f"case {kind}", image, truth=truth, found=masks, dice={"none": 0.0, "all": 1.0}
        )
        for kind in ("typical", "best", "worst")
    ]
    drawing = draw_mask_panel("panel", rows, "Two models.")
    texts = [text.get_text() for text, _ in texts_of(drawing.figure)]
    assert texts.count("1.000") == texts.count("0.000") == 3
    assert {"typical", "best", "worst", "image", "ground truth", "none", "all"} <= set(texts)
    assert len(drawing.figure.axes) == 12
    shown = [axes.images[0].get_array() for axes in drawing.figure.axes[:4]]
    colored = [int((np.ptp(np.asarray(picture), axis=2) > 40).sum()) for picture in shown]
    assert colored[0] == 0 and colored[1] > 0 and colored[2] < colored[3]
    assert "worst case case worst: none Dice 0.000, all Dice 1.000" in drawing.alt
