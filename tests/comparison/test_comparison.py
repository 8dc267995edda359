"""Several models on one image: masks, votes, scores and the files to keep."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kerasunet import models
from kerasunet.comparison import (
    Candidate,
    Choice,
    Comparison,
    compare,
    judge,
    score,
    without_small_regions,
)
from kerasunet.comparison_report import as_csv, as_html, as_zip, mask_files, rows
from kerasunet.data.identification import guess_modality, image_identity
from kerasunet.data.simulation import simulate
from kerasunet.demo.layers_network import trained_parameters
from kerasunet.inference.segmentation import segmentation
from kerasunet.metrics import dice, hd95, iou
from kerasunet.objects import Objects

SHAPE = (40, 60)


def candidate(name: str, probability: np.ndarray, votes: bool = True, trained=7) -> Candidate:
    answer = SimpleNamespace(probability=probability.astype(np.float32))
    return Candidate(
        name, name.replace("-", ":"), trained, votes=votes, segment=lambda image: answer
    )


def test_masks_whose_file_names_would_be_one_are_each_kept():
    names = ("a+b", "a,b", "A_b", "consensus", "truth")
    answers = [candidate(n, box(0, 0, 5, i + 2)) for i, n in enumerate(names)]
    made = compare(np.zeros(SHAPE, np.float32), answers)
    verdict = judge(made)
    files = zipfile.ZipFile(
        io.BytesIO(as_zip("x", made, verdict, scores=score(made, verdict)))
    ).namelist()
    assert len({name.casefold() for name in files}) == len(files)
    assert sorted(mask_files(verdict)) == ["A_b_3", "a_b", "a_b_2", "consensus_2", "truth_2"]
    assert len([name for name in files if name.startswith("masks/")]) == 5


def box(top: int, left: int, bottom: int, right: int, value: float = 0.8) -> np.ndarray:
    probability = np.full(SHAPE, 0.1)
    probability[top:bottom, left:right] = value
    return probability


@pytest.fixture
def comparison() -> Comparison:
    image = np.random.default_rng(0).uniform(0, 255, SHAPE).astype(np.float32)
    candidates = [
        candidate("none", box(0, 0, 5, 5), votes=False, trained=0),
        candidate("shallow-3", box(10, 10, 30, 30)),
        candidate("deep-3", box(10, 20, 30, 40, value=0.6)),
        candidate("all", box(10, 10, 30, 40)),
    ]
    return compare(image, candidates, spacing=(0.5, 0.25))


@pytest.fixture
def truth() -> np.ndarray:
    return box(10, 12, 30, 30) > 0.5


def test_only_voters_count_in_votes_and_consensus(comparison):
    verdict = judge(comparison)
    assert verdict.voters == 3
    expected = sum((a.probability >= 0.5).astype(int) for a in comparison.answers[1:])
    np.testing.assert_array_equal(verdict.votes, expected)
    np.testing.assert_array_equal(verdict.consensus, expected >= 2)


def test_half_is_no_majority(comparison):
    verdict = judge(comparison, Choice(names=("shallow-3", "deep-3")))
    both = verdict.masks["shallow-3"] & verdict.masks["deep-3"]
    np.testing.assert_array_equal(verdict.consensus, both)


def test_without_any_voter_all_vote(comparison):
    verdict = judge(comparison, Choice(names=("none",)))
    np.testing.assert_array_equal(verdict.consensus, verdict.masks["none"])


def test_threshold_and_names_choose(comparison):
    verdict = judge(comparison, Choice(threshold=0.7, names=("deep-3", "all")))
    assert list(verdict.masks) == ["deep-3", "all"]
    assert not verdict.masks["deep-3"].any()
    assert verdict.masks["all"].sum() == 20 * 30


@pytest.mark.parametrize("settings", [{"threshold": 1.2}, {"smallest": -1}, {"smallest": 101}])
def test_choice_out_of_range_is_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Choice(**settings)


def test_unknown_and_repeated_names_are_refused(comparison):
    with pytest.raises(ValueError, match="deep-9: not compared"):
        judge(comparison, Choice(names=("deep-9",)))
    twins = [candidate("all", box(0, 0, 1, 1))] * 2
    with pytest.raises(ValueError, match="all: named more than once"):
        compare(np.zeros(SHAPE), twins)
    with pytest.raises(ValueError, match="at least one model"):
        compare(np.zeros(SHAPE), [])


def test_small_regions_go_and_corners_connect():
    mask = np.zeros(SHAPE, bool)
    mask[0:3, 0:3] = True
    mask[20, 20] = mask[21, 21] = mask[22, 22] = True
    np.testing.assert_array_equal(without_small_regions(mask, 3), mask)
    kept = without_small_regions(mask, 4)
    assert kept.sum() == 9 and kept[0:3, 0:3].all()


def test_smallest_is_percent_of_the_image(comparison):
    share = 100 * 25 / (SHAPE[0] * SHAPE[1])
    assert judge(comparison, Choice(smallest=share)).masks["none"].sum() == 25
    assert judge(comparison, Choice(smallest=share + 0.01)).masks["none"].sum() == 0


def test_scores_are_the_metrics_best_first(comparison, truth):
    verdict = judge(comparison)
    scores = score(comparison, verdict, truth)
    assert [line.dice for line in scores] == sorted((s.dice for s in scores), reverse=True)
    assert [line.name for line in scores if line.best] == ["shallow-3"]
    for line in scores:
        mask = verdict.masks[line.name]
        assert line.dice == dice(truth, mask)
        assert line.iou == iou(truth, mask)
        assert line.hd95 == hd95(truth, mask, (0.5, 0.25))
        assert line.area_pixels == mask.sum()
        assert line.area_mm2 == pytest.approx(mask.sum() * 0.125)
        assert line.unit == "mm"


def test_without_truth_the_consensus_ranks(comparison):
    scores = score(comparison, judge(comparison))
    assert all(line.dice is None and line.hd95 is None for line in scores)
    assert scores[0].consensus_dice == max(line.consensus_dice for line in scores)
    assert scores[-1].name == "none"


def test_where_no_mask_has_a_true_pixel_nothing_is_best(comparison):
    verdict = judge(comparison)
    elsewhere = ~np.any([*verdict.masks.values()], axis=0)
    scores = score(comparison, verdict, elsewhere)
    assert {(line.dice, line.best) for line in scores} == {(0.0, False)}


def test_without_truth_nothing_is_best(comparison, truth):
    """Agreement with the consensus is not quality."""
    verdict = judge(comparison)
    scores = score(comparison, verdict)
    page = as_html("scan", comparison, verdict, scores=scores)
    assert not any(line.best for line in scores) and "(best)" not in page
    assert "Sorted by Dice with the consensus, which is agreement and not quality." in page
    assert f"all: Dice with the consensus {scores[0].consensus_dice:.3f}" in page
    assert {line["best"] for line in rows("scan", scores, Choice())} == {""}
    against_truth = as_html(
        "scan", comparison, verdict, scores=score(comparison, verdict, truth), truth=truth
    )
    assert "(best)" in against_truth


@pytest.mark.parametrize("change", ["same", "smaller", "another"])
def test_a_model_that_has_seen_the_image_is_named_and_is_not_best(change):
    image = simulate("breast-ultrasound", 3, 0, size=(160, 200)).image.astype(np.float32)
    known = cv2.resize(image, (150, 120), interpolation=cv2.INTER_AREA)
    known = {"same": image, "smaller": known, "another": image[:, ::-1]}[change]
    truth = np.zeros(image.shape, bool)
    truth[40:80, 40:90] = True
    half = truth & (np.arange(200) < 70)
    makers = {"saw": {"seen": frozenset([image_identity(known)])}, "new": {},
              "old": {"lists_all": False}}  # fmt: skip
    made = [replace(candidate(name, truth if name == "saw" else half), **more)
            for name, more in makers.items()]  # fmt: skip
    compared = compare(image, made)
    verdict = judge(compared)
    scores = {line.name: line for line in score(compared, verdict, truth)}
    is_seen = change != "another"
    assert (scores["saw"].seen, scores["new"].seen, scores["old"].seen) == (is_seen, False, None)
    assert (scores["saw"].dice, scores["saw"].best) == (1.0, not is_seen)
    assert scores["new"].best == scores["old"].best == is_seen
    assert [*scores][-1 if is_seen else 0] == "saw"
    page = as_html("scan", compared, verdict, scores=[*scores.values()], truth=truth)
    assert ("saw (has seen this image)" in page) == is_seen
    assert ("saw: Dice 1.000, has seen this image" in page) == is_seen
    assert "Nobody knows whether this image was seen by old." in page
    lines = {row["model"]: row["seen"] for row in rows("scan", [*scores.values()], Choice())}
    assert lines == {"saw": "yes" if is_seen else "no", "new": "no", "old": "unknown"}


def test_candidates_are_told_apart_by_what_they_are():
    twins = [
        replace(candidate(name, box(0, 0, 5, 5)), strategy="all", origin=f"from {name}, 200 steps")
        for name in ("first", "second")
    ]
    compared = compare(np.zeros(SHAPE), twins)
    scores = score(compared, judge(compared))
    assert [line.strategy for line in scores] == ["all (first)", "all (second)"]
    assert "from second, 200 steps" in as_html("scan", compared, judge(compared), scores=scores)
    assert [row["origin"] for row in rows("scan", scores, Choice())] == [
        "from first, 200 steps",
        "from second, 200 steps",
    ]


def test_mask_of_another_size_is_refused(comparison):
    with pytest.raises(ValueError, match="mask has 3×2 pixels, the image 60×40"):
        score(comparison, judge(comparison), np.zeros((2, 3), bool))


def test_csv_defuses_formulas_and_keeps_numbers(comparison, truth):
    choice = Choice()
    scores = score(comparison, judge(comparison, choice), truth)
    text = as_csv(rows('=HYPERLINK("x")', scores, choice))
    read = list(csv.DictReader(io.StringIO(text)))
    assert {line["image"] for line in read} == {'\'=HYPERLINK("x")'}
    assert float(read[0]["dice"]) == pytest.approx(scores[0].dice, abs=1e-4)
    assert read[0]["best"] == "yes" and int(read[0]["trained_parameters"]) == 7


def test_zip_holds_lossless_masks_at_the_size_of_the_image(comparison, truth):
    verdict = judge(comparison)
    packed = as_zip(
        "scan.png", comparison, verdict, scores=score(comparison, verdict, truth), truth=truth
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = set(archive.namelist())
        for name, mask in verdict.masks.items():
            np.testing.assert_array_equal(_png(archive, f"masks/{name}.png"), mask * 255)
        np.testing.assert_array_equal(_png(archive, "votes.png"), verdict.votes)
        np.testing.assert_array_equal(_png(archive, "consensus.png"), verdict.consensus * 255)
        assert {"table.csv", "report.html", "overlays/truth.png"} <= names
        for name in names:
            data = archive.read(name)
            assert b"tEXt" not in data and b"eXIf" not in data, name


def _png(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)


def test_report_stands_alone_and_escapes(comparison):
    verdict = judge(comparison)
    title = "<script>alert(1)</script>"
    page = as_html(title, comparison, verdict, scores=score(comparison, verdict))
    assert "<script" not in page and "http" not in page
    assert "Research use only. Not a medical device." in page
    assert page.count("<img") == 1 + len(verdict.masks) + 2


@pytest.mark.parametrize(
    ("simulator", "modality"), [("breast-ultrasound", "ultrasound"), ("chest-xray", "xray")]
)
def test_modality_of_simulated_images_is_guessed(simulator, modality):
    guesses = [guess_modality(simulate(simulator, 5, i, size=160).image) for i in range(8)]
    assert guesses.count(modality) >= 7


def test_constant_image_has_a_guess():
    assert guess_modality(np.full((30, 50, 3), 128, np.uint8)) == "ultrasound"


@pytest.mark.parametrize("strategy", ["all", "none", "shallow:2", "norm"])
def test_trained_parameters_are_those_that_train(strategy, tiny_model_file):
    from kerasunet import describe, set_trainable

    model = models.load(tiny_model_file)
    set_trainable(model, strategy)
    card = replace(models.card(tiny_model_file), strategy=strategy)
    assert trained_parameters(card) == describe(model).trained
    if strategy == "all":
        stages = {**card.settings, "unfreeze": ("deep:1@0", "shallow:1@9")}
        both = trained_parameters(replace(card, strategy="deep:1+shallow:1"))
        last = replace(card, strategy="shallow:1", settings=stages)
        assert trained_parameters(last) == both > trained_parameters(replace(last, settings={}))


def organs(labels: np.ndarray, name: str = "organs", **more) -> Candidate:
    """A candidate that finds two objects as the labels say."""
    objects = Objects(("lungs", "heart"))
    outputs = np.eye(3, dtype=np.float32)[labels] * 0.4 + 0.2
    found = segmentation(np.zeros(SHAPE), outputs, 0.5, spacing=None, objects=objects)
    return Candidate(name, name, 7, votes=True, segment=lambda image: found,
                     objects=objects.names, **more)  # fmt: skip


def test_one_of_several_objects_is_compared():
    labels = np.zeros(SHAPE, int)
    labels[5:20, 5:25], labels[10:30, 30:50] = 1, 2
    lungs, anything = candidate("lungs", labels == 1), candidate("any", labels == 2)
    lungs = replace(lungs, objects=("lungs",))
    whole = compare(np.zeros(SHAPE), [organs(labels), lungs, anything])
    assert whole.objects == ("lungs", "heart")
    for name, value in (("lungs", 1), ("heart", 2)):
        about = whole.of(name)
        verdict = judge(about, Choice(threshold=0.9))  # The most probable object needs none.
        np.testing.assert_array_equal(verdict.masks["organs"], labels == value)
        assert ("lungs" in verdict.masks) == (name == "lungs")
        assert "any" in verdict.masks
        scores = score(about, verdict, labels == value)
        assert {line.name for line in scores if line.best} == {*verdict.masks} - {"any"}
        # Nobody said that it marks this object: it is shown, but neither wins nor votes.
        assert (scores[-1].name, scores[-1].lacks) == ("any", name)
        assert verdict.voters == len(verdict.masks) - 1
        assert f"any (not trained to mark {name})" in as_html("x", about, verdict, scores=scores)
    np.testing.assert_array_equal(judge(whole).masks["organs"], labels == 1)
    lines = as_csv(rows("scan.png", score(about, verdict), Choice(), object_="heart"))
    assert lines.splitlines()[0].startswith("image,object,strategy")
    assert "object" not in as_csv(rows("scan.png", score(about, verdict), Choice())).split(",")


def test_models_of_one_object_leave_nothing_to_choose():
    comparison = compare(np.zeros(SHAPE), [candidate("a", np.ones(SHAPE))])
    assert comparison.objects == ()
    assert comparison.of("") is comparison
