"""`adapt`: a folder in; an answer, an estimate and a model out; again, and with more images."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from helpers import AS_INSTALLED
from helpers.images import disc_images, write_disc_pairs

from kerasunet import models
from kerasunet.adapt import AdaptSettings, Answer, adapt, directory
from kerasunet.adapt.answer import candidate_lines
from kerasunet.adapt.background import RESULT, AdaptProgress, BackgroundAdaptation
from kerasunet.adapt.candidates import Candidate, Contenders, Fits
from kerasunet.adapt.cross_validation import CrossValidation, deal
from kerasunet.adapt.settings import BUDGETS, Silent
from kerasunet.adapt.starts import (
    Pictures,
    Untouched,
    evaluate_untouched,
    load_start,
    sizes_of,
    usable_starts,
)
from kerasunet.adapt.survey import Survey, load_cases
from kerasunet.data import load
from kerasunet.data.checking import Report
from kerasunet.data.decoding import content_digest, decode
from kerasunet.data.identification import image_identities
from kerasunet.files import NotWritten
from kerasunet.inference import Segmenter
from kerasunet.layer_selection import Belief, Evidence, Finding, GroupedMean
from kerasunet.layer_selection.evidence import studentized_interval
from kerasunet.training import Optimization

FEW_STEPS = Optimization(batch_size=4, learning_rate=3e-3)


def write_pairs(folder: Path, count: int, first: int = 0) -> Path:
    images, masks = disc_images(first + count)
    for kind, pictures in (("images", images), ("masks", masks.astype(np.uint8) * 255)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            cv2.imwrite(str(folder / kind / f"scan{number:02d}.png"), pictures[number])
    return folder


def settings_for(folder: Path, start: Path, **more) -> AdaptSettings:
    chosen = {"budget": "quick", "minutes": 0.01, "optimization": FEW_STEPS, **more}
    return AdaptSettings(data=str(folder), starts=(str(start),), **chosen)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("lab") / "pairs", 12)


@pytest.fixture(scope="module")
def adapted(short, pairs, tiny_model_file, tmp_path_factory) -> Answer:
    return adapt(settings_for(pairs, tiny_model_file), tmp_path_factory.mktemp("out") / "adapted")


def kept_fits(directory: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in (directory / "work/fits").iterdir()}


@pytest.mark.slow
def test_an_answer_comes_in_words_values_and_files(adapted):
    answer = json.loads((adapted.directory / "answer.json").read_text(encoding="utf-8"))
    assert answer["images"] == 12 and len(answer["estimate"]["by_fold"]) == 4
    assert answer["estimate"]["low"] <= answer["estimate"]["dice"] <= answer["estimate"]["high"]
    words = (adapted.directory / "answer.md").read_text(encoding="utf-8")
    assert adapted.headline() in words and "expect a Dice of" in words
    assert f"kerasunet predict {adapted.model} YOUR_IMAGES" in words
    page = (adapted.directory / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 8 and "http" not in page
    for name in ("pairs.png", "failures.png"):
        assert cv2.imread(str(adapted.directory / name)) is not None
    table = (adapted.directory / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 13 and table[0].startswith("key,group,dice")


@pytest.mark.slow
def test_the_interval_is_the_bootstrap_t_of_the_table_of_cases(adapted):
    """From `cases.csv` alone, in a plain loop, with other random numbers."""
    answer = json.loads((adapted.directory / "answer.json").read_text(encoding="utf-8"))
    with open(adapted.directory / "cases.csv", encoding="utf-8", newline="") as file:
        dice = np.array([float(row["dice"]) for row in csv.DictReader(file)])  # A group each.
    expected, count, rng = answer["estimate"], len(dice), np.random.default_rng(7)
    assert expected["dice"] == pytest.approx(dice.mean(), abs=6e-5)
    spread = []
    for _ in range(20000):
        drawn = rng.choice(dice, count)
        error = max(drawn.std(ddof=1), 0.05 * dice.std(ddof=1)) / count**0.5
        spread.append((drawn.mean() - dice.mean()) / error)
    # Models of 4 folds share images: Nadeau and Bengio's correction of the variance.
    error = dice.std(ddof=1) / count**0.5 * (1 + 1 / 3) ** 0.5
    high, low = np.clip(dice.mean() - np.quantile(spread, [0.025, 0.975]) * error, 0, 1)
    found = (expected["low"], expected["high"])
    assert found == pytest.approx((low, high), abs=0.08 * (high - low))


def test_the_card_of_an_adaptation_states_the_intervals_of_its_answer(adapted):
    answer = json.loads((adapted.directory / "answer.json").read_text(encoding="utf-8"))
    expected, stated = answer["estimate"], models.card(adapted.model).metrics
    dice = stated["dice"]
    bounds = [round(dice[name], 4) for name in ("mean", "low", "high")]
    assert bounds == [expected[name] for name in ("dice", "low", "high")]
    text = adapted.model.with_suffix(".md").read_text(encoding="utf-8")
    assert "## Held-out cases; in cross-validation, by models trained without them\n" in text
    with open(adapted.directory / "cases.csv", encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    for name in ("iou", "hd95"):  # Of the others, too; distances may exceed 1.
        scores = np.array([float(row[name]) for row in rows])
        error = scores.std(ddof=1) / len(scores) ** 0.5 * (1 + 1 / 3) ** 0.5
        assert stated[name]["low"] < scores.mean() < stated[name]["high"]
        assert stated[name]["high"] - stated[name]["low"] > 1.96 * error


def test_distances_of_folds_at_several_image_sizes_are_called_so(adapted):
    """Each fold may choose another image size, in whose pixels its distances are."""
    one, *others = adapted.estimate.by_fold
    larger = replace(one, candidate=one.candidate._replace(image_size=64))
    mixed = replace(adapted.estimate, by_fold=(larger, *others))
    assert mixed.evaluation.summary["unit"] == "px of several image sizes"
    told = directory.as_markdown(replace(adapted, estimate=mixed))
    assert "| HD95 (px of several image sizes) |" in told
    assert adapted.estimate.evaluation.summary["unit"] == "px"


@pytest.mark.slow
def test_starts_whose_files_have_one_name_are_told_apart(short, pairs, tiny_model_file, tmp_path):
    """As those of two runs have; copies count once."""
    files = [tmp_path / run / "model.keras" for run in ("one", "other", "copy")]
    model = models.load(tiny_model_file)
    for number, file in enumerate(files):
        file.parent.mkdir()
        if number == 1:  # Finds nothing.
            model.get_layer("head").set_weights([w * 0 for w in model.get_layer("head").weights])
        if number < 2:
            models.save(model, file, models.card(tiny_model_file))
        else:
            for suffix in (".keras", ".json"):
                file.with_suffix(suffix).write_bytes(files[0].with_suffix(suffix).read_bytes())
    names = [f"model {models.digest(file)[:8]}" for file in files[:2]]
    settings = replace(settings_for(pairs, files[0]), starts=tuple(map(str, files)))
    told = adapt(settings, tmp_path / "out").as_dict()
    assert [one["start"] for one in told["starts"]] == names
    chosen = told["chosen"]["start"]
    assert chosen in names and f"Start from {chosen}" in told["answer"]
    card = models.card(tmp_path / "out/model.keras")
    assert card.init == chosen
    assert f"| initial weights | `{chosen}` |" in card.to_markdown()


@pytest.mark.slow
def test_the_model_opens_in_plain_keras_and_says_what_it_has_seen(adapted, pairs):
    model = keras.models.load_model(adapted.model)
    found = model.predict(np.zeros((1, 32, 32, 1), np.float32), verbose=0)
    assert found.shape == (1, 32, 32, 1)
    card = models.card(adapted.model)
    assert {*image_identities(load(pairs).cases).values()} <= {*card.seen}
    assert card.training_cases == 12
    assert card.metrics["n"] == 12 and card.strategy == adapted.chosen.candidate.strategy


@pytest.mark.slow
def test_kept_trainings_of_one_object_have_the_digests_that_they_always_had(
    adapted, pairs, tiny_model_file
):
    size, settings = adapted.chosen.candidate.image_size, settings_for(pairs, tiny_model_file)
    optimization = replace(settings.optimization, steps=adapted.steps, validate_every=adapted.steps)
    facts = {
        "start": models.digest(tiny_model_file),
        "strategy": adapted.chosen.candidate.strategy,
        "image size": size,
        "optimization": vars(optimization),
        "augmentation": vars(settings.augmentation),
        "cases": content_digest([decode(load(pairs).cases, (size, size))]),
    }
    text = json.dumps(facts, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    assert f"{name}.npz" in kept_fits(adapted.directory)


@pytest.mark.slow
def test_an_answer_says_where_the_trials_disagree_with_the_studies(adapted):
    best = replace(adapted.chosen.weighed[0], trial=Belief(0.0, 0.0), behind=0.0001)
    ahead = replace(best, candidate=Candidate("x", 32, "none"), trial=Belief(-0.04, 0.02))
    told = replace(adapted, chosen=replace(adapted.chosen, weighed=(best, ahead)))
    (lead,) = [one for one in told.sentences() if one.startswith("According to")]
    said = " On these images alone, x, untouched at 32 pixels was ahead of the choice by 0.040"
    assert f"{said} ± 0.020 Dice; the studies outweigh that." in lead
    assert "-0.000" not in "".join(candidate_lines(told.chosen))
    close = replace(ahead, trial=Belief(-0.04, 0.05))
    told = replace(adapted, chosen=replace(adapted.chosen, weighed=(best, close)))
    assert "On these images alone" not in " ".join(told.sentences())


@pytest.mark.slow
def test_an_answer_about_one_object_names_no_objects(adapted):
    answer = json.loads((adapted.directory / "answer.json").read_text(encoding="utf-8"))
    assert "objects" not in answer and "objects" not in answer["estimate"]
    assert not any("instead" in one for one in answer["left_out"])
    table = (adapted.directory / "answer.md").read_text(encoding="utf-8")
    assert "| metric | mean |\n|---|---|\n| Dice | " in table
    assert models.card(adapted.model).objects == ()


@pytest.fixture(scope="module")
def recorded(adapted) -> models.RecordedEvaluation:
    """An evaluation that was recorded on the card of the model."""
    card = models.card(adapted.model)
    found = models.RecordedEvaluation(
        data=replace(card.data, name="elsewhere"),
        image_size=card.image_size,
        threshold=card.threshold,
        metrics=card.metrics,
        seen=0,
    )
    models.record(adapted.model, found)
    return found


@pytest.mark.slow
def test_the_same_again_trains_nothing(adapted, recorded, pairs, tiny_model_file):
    before, digest = kept_fits(adapted.directory), models.digest(adapted.model)
    again = adapt(settings_for(pairs, tiny_model_file), adapted.directory)
    assert kept_fits(adapted.directory) == before and again.changes == ()
    assert again.as_dict()["estimate"] == adapted.as_dict()["estimate"]
    assert models.digest(again.model) == digest, "predictions that name the file stay true"
    assert [one.data.name for one in models.card(again.model).evaluations] == ["elsewhere"]


@pytest.mark.slow
def test_the_model_of_another_adaptation_is_not_taken_for_that_of_this_one(
    adapted, tiny_model_file, tmp_path
):
    """Nor if its card was copied, too."""
    copy = shutil.copytree(adapted.directory, tmp_path / "copy", ignore=lambda *_: ["work"])
    other = models.load(tiny_model_file)
    models.save(other, tmp_path / "other" / "model.keras", models.card(copy / "model.keras"))
    for name in ("model.keras", "model.json", "model.md"):
        shutil.copy(tmp_path / "other" / name, copy)
    with pytest.raises(ValueError, match=r"model\.json: it and its model are of another run"):
        models.load(copy / "model.keras")


@pytest.mark.slow
def test_an_interrupted_adaptation_goes_on_to_the_same_answer(
    short, adapted, pairs, tiny_model_file, tmp_path
):
    shutil.copytree(adapted.directory, tmp_path / "cut")
    (tmp_path / "cut/answer.json").unlink()
    fits = sorted((tmp_path / "cut/work/fits").iterdir())
    for path in fits[::3]:
        path.unlink()
    fits[1].write_bytes(damaged := fits[1].read_bytes()[:100])
    shutil.copy(fits[4], fits[5])
    again = adapt(settings_for(pairs, tiny_model_file), tmp_path / "cut")
    assert sorted((tmp_path / "cut/work/fits").iterdir()) == fits
    assert fits[1].stat().st_size > len(damaged), "a file that is not whole is made again"
    assert str(np.load(fits[5])["fit"]) == fits[5].stem, "so is one of another training"
    expected, found = (one.as_dict()["estimate"]["dice"] for one in (adapted, again))
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.slow
def test_more_annotations_keep_what_they_do_not_change(
    short, adapted, recorded, pairs, tiny_model_file, tmp_path
):
    shutil.copytree(pairs, tmp_path / "pairs")
    shutil.copytree(adapted.directory, tmp_path / "out")
    before = kept_fits(tmp_path / "out")
    write_pairs(tmp_path / "pairs", 1, first=12)
    notes: list[str] = []
    listener = Silent()
    listener.note = notes.append
    second = adapt(settings_for(tmp_path / "pairs", tiny_model_file), tmp_path / "out", listener)
    assert models.card(second.model).evaluations == ()
    assert any(
        "elsewhere were recorded for the earlier model and are gone with it" in n for n in notes
    )
    after = kept_fits(second.directory)
    kept = {name for name in before if after.get(name) == before[name]}
    assert len(after) - len(before) < len(before), "not everything was trained anew"
    assert kept == set(before) and "+1 annotated images" in second.changes
    assert "Since the last answer: +1 annotated images." in second.sentences()


@pytest.fixture(scope="module")
def averaged(adapted, pairs, tiny_model_file, tmp_path_factory) -> Answer:
    """The same adaptation, which now ends in the average of the models of the folds."""
    out = tmp_path_factory.mktemp("averaged") / "out"
    shutil.copytree(adapted.directory, out)
    return adapt(settings_for(pairs, tiny_model_file, ensemble=True), out)


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_the_models_of_the_folds(adapted, averaged):
    answer = averaged
    assert kept_fits(answer.directory).keys() == kept_fits(adapted.directory).keys()
    assert "the average of 4 models" in " ".join(answer.sentences())
    model, image = keras.models.load_model(answer.model), disc_images(1)[0][0]
    assert model.count_params() > 4 * keras.models.load_model(adapted.model).count_params()
    found = model.predict(image[None, ..., None].astype(np.float32), verbose=0)[0, ..., 0]
    for engine in ("keras", "onnx"):
        segmentation = Segmenter(answer.model, engine=engine)(image)
        np.testing.assert_allclose(segmentation.probability, found, atol=1e-4)
    with pytest.raises(ValueError, match="is the average of several networks"):
        load_start(str(answer.model))


@pytest.mark.slow
def test_few_images_are_told_what_can_be_said(tiny_model_file, tmp_path):
    folder = write_pairs(tmp_path / "few", 5)
    answer = adapt(settings_for(folder, tiny_model_file), tmp_path / "out")
    assert answer.model is None and answer.chosen is None
    told = " ".join(answer.sentences())
    assert "With 5 annotated images, use model untouched" in told and "With at least 8" in told
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.slow
def test_a_start_that_has_seen_the_images_is_left_out_by_name(adapted, pairs, tiny_model_file):
    names = (str(adapted.model), str(tiny_model_file))
    cards, left_out = usable_starts(names, load(pairs))
    assert [*cards] == [str(tiny_model_file)]
    assert left_out[0].name == str(adapted.model)
    assert (
        "seen 12 of the 12 images, or copies of them (scan00, scan01, scan02, …)"
        in left_out[0].reason
    )
    with pytest.raises(ValueError, match="no start is left"):
        usable_starts(names[:1], load(pairs))


@pytest.mark.slow
def test_other_data_and_foreign_folders_are_refused(adapted, tiny_model_file, tmp_path):
    other = write_pairs(tmp_path / "other", 8)
    with pytest.raises(ValueError, match="is an adaptation to .*pairs, not to .*other"):
        adapt(settings_for(other, tiny_model_file), adapted.directory)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="thesis.txt"):
        adapt(settings_for(other, tiny_model_file), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_what_is_there_of_other_images_or_more_of_them_stays(
    adapted, pairs, tiny_model_file, tmp_path
):
    """A folder of the same name, images that have become few, and a start that does not exist."""
    before = {path: path.read_bytes() for path in adapted.directory.rglob("*") if path.is_file()}
    folder = tmp_path / pairs.name
    for first, count, saying in ((50, 8, "to other images, from"), (0, 5, "a model trained")):
        shutil.rmtree(folder, ignore_errors=True)
        write_pairs(folder, count, first)
        with pytest.raises(ValueError, match=saying):
            adapt(settings_for(folder, tiny_model_file), adapted.directory)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        adapt(settings_for(pairs, Path("nowhere.keras")), adapted.directory)
    after = {path: path.read_bytes() for path in adapted.directory.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
def test_a_kill_leaves_no_answer_beside_another_model(
    short, averaged, pairs, tiny_model_file, tmp_path, monkeypatch
):
    """One model replaces an average; twice, the adaptation ends once a certain file has its name.

    What was killed first is killed again, later, and then comes to its end.
    """
    out, settings = tmp_path / "out", settings_for(pairs, tiny_model_file)
    shutil.copytree(averaged.directory, out)
    told = {"answer.json", "answer.md", "report.html", "cases.csv", "failures.png"}
    move = directory._move
    for last in ("model.keras", "cases.csv"):

        def move_and_end(source: Path, target: Path, last: str = last) -> None:
            move(source, target)
            if target.name == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(directory, "_move", move_and_end)
        with pytest.raises(KeyboardInterrupt):
            adapt(settings, out)
        assert (out / "model.keras").read_bytes() != averaged.model.read_bytes()
        assert "answer.json" not in (here := {path.name for path in out.iterdir()})
        assert here.isdisjoint(told) or last != "model.keras"
    monkeypatch.undo()
    adapt(settings, out)
    assert told <= {path.name for path in out.iterdir()}
    assert "the average of" not in (out / "answer.md").read_text(encoding="utf-8")
    assert {path.name for path in (out / "work").iterdir()} == {"fits", "plan.json"}


def test_files_of_yours_beside_what_is_not_published_yet_stay(tmp_path):
    for name in ("new", ".publishing-mine"):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "thesis.txt").write_text("years of work")
    before = {*tmp_path.rglob("*")}
    with directory.AdaptDirectory(tmp_path).publishing() as aside:
        (aside / "pairs.png").write_bytes(b"a picture")
    assert {*tmp_path.rglob("*")} - before == {tmp_path / "adapt.json", tmp_path / "pairs.png"}


@pytest.mark.slow
def test_results_of_an_adaptation_that_were_changed_are_not_replaced(
    short, adapted, pairs, tiny_model_file, tmp_path
):
    out, settings = tmp_path / "out", settings_for(pairs, tiny_model_file)
    shutil.copytree(adapted.directory, out)
    for name in ("answer.md", "model.md", "cases.csv"):
        (out / name).write_text(f"mine\n{(out / name).read_text()}")
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        with pytest.raises(FileExistsError, match=f"{name}: has been changed since adapt wrote it"):
            adapt(settings, out)
        assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        (out / name).rename(out / f"my-{name}")
    (out / "model.keras").chmod(0o444)
    with pytest.raises(NotWritten, match="model.keras: is write-protected"):
        adapt(settings, out)
    (out / "cases.csv").mkdir()
    with pytest.raises(NotWritten, match="cases.csv: is a folder or a device"):
        directory.AdaptDirectory(out).check(json.loads((out / "adapt.json").read_text()))
    (out / "cases.csv").rmdir()
    (out / "model.keras").chmod(0o644)
    record = json.loads((out / "adapt.json").read_text())
    del record["files"]  # As older versions wrote it.
    (out / "adapt.json").write_text(json.dumps(record))
    adapt(settings, out)
    assert (out / "my-answer.md").read_text().startswith("mine")
    assert (out / "answer.md").read_text() == (adapted.directory / "answer.md").read_text().replace(
        str(adapted.directory), str(out)
    )


@pytest.mark.slow
def test_the_choice_for_a_fold_knows_nothing_of_it(short, pairs, tiny_model_file, tmp_path):
    """Masks of a fold are turned inside out: what is chosen for it, and why, stays the same."""
    data = load(pairs)
    shutil.copytree(pairs, tmp_path / "pairs")
    cases = decode(data.cases, (32, 32))
    folds = deal(cases, {}, seed=0)
    for key in folds[0]:
        path = str(tmp_path / f"pairs/masks/{key}.png")
        cv2.imwrite(path, 255 - cv2.imread(path, cv2.IMREAD_GRAYSCALE))
    chosen = []
    for folder in (pairs, tmp_path / "pairs"):
        settings = settings_for(folder, tiny_model_file)
        changed, name = load(folder), str(tiny_model_file)
        card = models.card(name)
        pictures = Pictures(changed)
        tried = (evaluate_untouched(name, card, pictures, size=32),)
        contenders = Contenders(tried, {name: card}, Evidence.published(), "ultrasound")
        fits = Fits(tmp_path / "fits", pictures, settings, 4, Silent())
        chosen.append(CrossValidation(folds, contenders, fits, 2).choose((1, 2, 3)))
    assert chosen[0].weighed == chosen[1].weighed
    assert len(chosen[0].weighed) == 2 and chosen[0].weighed[1].trial is not None


def test_folds_stay_when_images_are_added():
    images, masks = disc_images(14)
    keys = tuple(f"k{n:02d}" for n in range(14))
    groups = tuple(f"p{n // 2}" for n in range(14))
    cases = decode_like(keys, groups, images, masks)
    folds = deal(cases.between(0, 12), {}, seed=3)
    fold_of = {f"p{int(key[1:]) // 2}": n for n, fold in enumerate(folds) for key in fold}
    more = deal(cases, fold_of, seed=3)
    assert all({*old} <= {*new} for old, new in zip(folds, more, strict=True))
    assert sorted(key for fold in more for key in fold) == [*keys]
    assert deal(cases.between(0, 2), {}, seed=3) == (("k00", "k01"),)


def decode_like(keys, groups, images, masks):
    from kerasunet.data.decoding import DecodedCases

    return DecodedCases(keys, groups, images[..., None], masks, (None,) * len(keys))


# In a process of its own


def followed(running: BackgroundAdaptation, until) -> AdaptProgress:
    deadline = time.monotonic() + 300
    while not until(progress := running.progress()):
        assert time.monotonic() < deadline, progress
        time.sleep(0.2)
    return progress


@pytest.mark.slow
def test_a_process_of_its_own_tells_how_it_goes_and_ends_with_an_answer(
    short, pairs, tiny_model_file, tmp_path, monkeypatch
):
    lines = "from kerasunet.adapt.settings import BUDGETS, Budget", f"BUDGETS.update({BUDGETS!r})"
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))  # `short` in that process, too.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), AS_INSTALLED]))
    running = BackgroundAdaptation(settings_for(pairs, tiny_model_file), tmp_path / "job")
    seen = followed(running, lambda progress: progress.is_over or progress.step > 0)
    assert seen.steps > 0 and seen.seconds > 0
    done = followed(running, lambda progress: progress.is_over)
    assert (done.state, done.step) == ("finished", done.steps), done.message
    assert any("12 annotated images" in note for note in done.notes)
    assert (tmp_path / "job" / RESULT / "model.keras").is_file()


@pytest.mark.slow
def test_a_process_that_fails_says_why_and_one_that_is_canceled_ends(tiny_model_file, tmp_path):
    (tmp_path / "empty").mkdir()
    settings = settings_for(tmp_path / "empty", tiny_model_file)
    running = BackgroundAdaptation(settings, tmp_path / "job")
    done = followed(running, lambda progress: progress.is_over)
    assert done.state == "failed" and str(tmp_path / "empty") in done.message
    again = BackgroundAdaptation(settings, tmp_path / "other")
    again.cancel()
    assert again.progress().state == "canceled"


# Candidates


def tried(start: str, dice: float, modality: str) -> Untouched:
    return Untouched(start, 128, modality, {"a": dice, "b": dice}, np.zeros((2, 1, 1)))


def contenders(*starts: Untouched) -> Contenders:
    rows = (
        Finding("busi", "close", 20, "0.1*shallow:4", dice=0.72, behind=0.0, error=0.002, sets=3),
        Finding("busi", "close", 20, "none", dice=0.71, behind=0.01, error=0.002, sets=3),
        Finding("busi", "far", 20, "3*shallow:4", dice=0.66, behind=0.0, error=0.002, sets=3),
        Finding("busi", "far", 20, "3*all", dice=0.64, behind=0.02, error=0.002, sets=3),
    )
    card = models.card("natural")
    return Contenders(starts, {one.start: card for one in starts}, Evidence(rows), "ultrasound")


def test_a_start_that_knows_the_images_leads_and_may_stay_untouched():
    field = contenders(tried("natural", 0.4, "photograph"), tried("clinic", 0.7, "ultrasound"))
    beliefs = field.beliefs(["a", "b"])
    assert [*beliefs][:2] == [
        Candidate("clinic", 128, "0.1*shallow:4"),
        Candidate("clinic", 128, "none"),
    ]
    assert beliefs[Candidate("natural", 128, "3*shallow:4")].behind == pytest.approx(0.06)
    assert [*field.shortlist(["a", "b"], 1)] == [*beliefs][:2], "the favorite, and untouched"
    assert {one.start for one in field.shortlist(["a", "b"], 2)} == {"natural", "clinic"}


def test_starts_that_find_more_correct_a_guess_of_the_kind_of_image():
    """Twenty of BUSI's images were taken for X-rays, and the start that knew them was not tried."""
    photographs = tried("natural", 0.5, "photograph")
    field = contenders(photographs, tried("clinic", 0.79, "ultrasound"))
    mistaken = replace(field, modality="xray", is_guessed=True)
    assert mistaken.kind(["a", "b"]) == "ultrasound"
    assert mistaken.beliefs(["a", "b"]) == field.beliefs(["a", "b"])
    assert replace(mistaken, is_guessed=False).kind(["a"]) == "xray"
    chance = contenders(photographs, tried("clinic", 0.65, "ultrasound"))
    assert replace(chance, modality="xray", is_guessed=True).kind(["a"]) == "xray"


def test_a_corrected_guess_is_told(tmp_path):
    guessed = Survey(
        load(write_disc_pairs(tmp_path, 2)), Report("", None, ()), "xray", True, 40.0, 0
    )
    assert "X-ray (guessed from the images); read as" in guessed.lines()[0]
    corrected = replace(guessed, modality="ultrasound", is_corrected=True)
    assert (
        "Ultrasound (guessed from the images, corrected by what the starts find)"
        in (corrected.lines()[0])
    )


def test_a_pattern_that_makes_one_patient_of_all_images_is_refused(tmp_path):
    settings = AdaptSettings(str(write_disc_pairs(tmp_path, 4)), group_pattern="(case)")
    with pytest.raises(ValueError, match=r"group pattern \(case\): assigns all 4"):
        load_cases(settings)
    assert len(load_cases(replace(settings, group_pattern="([0-9]+)"))) == 4


def test_a_start_that_does_not_find_the_objects_is_as_far_as_photographs():
    field = contenders(tried("natural", 0.3, "photograph"), tried("clinic", 0.4, "ultrasound"))
    beliefs = field.beliefs(["a", "b"])
    assert {one.start for one in beliefs} == {"natural"}
    assert beliefs[Candidate("natural", 128, "3*shallow:4")] == Belief(
        0.0, pytest.approx(0.01, abs=1e-3)
    )
    assert len(field.shortlist(["a"], 1)) == 1


def test_small_objects_are_also_tried_in_larger_images():
    card = models.card("natural")
    assert sizes_of(card, object_side=40.0) == (128,)
    assert sizes_of(card, object_side=9.0) == (128, 192, 256)


# The command line


@pytest.mark.slow
def test_the_command_answers_in_words(short, pairs, tiny_model_file, call_cli):
    words = ["adapt", str(pairs), "--budget", "quick", "--minutes", "0.01", "--output", "our lab"]
    done = call_cli(*words, "--starts", str(tiny_model_file))
    assert done.returncode == 0, done.stderr
    assert "expect a Dice of" in done.stdout
    assert "kerasunet predict 'our lab/model.keras' YOUR_IMAGES" in done.stdout
    assert "12 annotated images, " in done.stderr
    assert "training steps to come" in done.stderr
    again = call_cli(*words, "--starts", str(tiny_model_file))
    assert again.returncode == 0 and "every training was kept from before" in again.stderr
    assert "to come" not in again.stderr, "only what is left is announced"


@pytest.mark.slow
def test_a_name_that_could_not_be_given_is_refused_before_training(
    short, pairs, tiny_model_file, call_cli, monkeypatch
):
    monkeypatch.setenv("KERASUNET_MODELS", str(Path("registered").absolute()))
    shutil.copytree(pairs, "pairs")
    words = ["adapt", "pairs", "--budget", "quick", "--minutes", "0.01", "--output", "lab"]
    words += ["--starts", str(tiny_model_file), "--save-as", "mine"]
    for _ in range(2):  # The same again is the same model.
        done = call_cli(*words)
        assert done.returncode == 0, done.stderr
        assert models.card("mine").saved == models.card("lab/model.keras").saved
    before = kept_fits(Path("lab")), models.card("lab/model.keras")
    refusals = [call_cli(*words, "--seed", 1)]
    Path("pairs/images/scan00.png").unlink()
    Path("pairs/masks/scan00.png").unlink()
    refusals.append(call_cli(*words))
    for refused in refusals:
        assert refused.returncode == 2 and "choose another name" in refused.stderr
        assert "looking at the images" not in refused.stderr
    assert before == (kept_fits(Path("lab")), models.card("lab/model.keras"))


def test_data_that_cannot_be_used_leave_nothing_and_cost_no_start_of_tensorflow(run_cli, tmp_path):
    done = run_cli("adapt", "nowhere", "--output", "out", environment={"PYTHONVERBOSE": "1"})
    assert done.returncode == 2 and "nowhere: " in done.stderr
    assert "import 'tensorflow'" not in done.stderr and not (tmp_path / "out").exists()


def test_wrong_budgets_are_refused(call_cli):
    done = call_cli("adapt", "x", "--budget", "lavish")
    assert done.returncode == 2 and "quick, normal, thorough" in done.stderr


# The interval


def test_the_interval_covers_skew_means_about_as_often_as_it_says():
    """A tenth of the cases fail; of 400 samples of 20 cases, 93 % or more should be covered."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        scores = np.where(rng.random(20) < 0.1, rng.uniform(0, 0.2, 20), rng.uniform(0.8, 1, 20))
        groups = [f"p{n}" for n in range(20)]
        mean = GroupedMean.of(scores, groups, folds=4)
        low, high = studentized_interval(mean, scores.tolist(), groups)
        covered += low <= 0.9 * 0.9 + 0.1 * 0.1 <= high
    assert covered >= 0.9 * 400


def test_equal_scores_have_an_interval_without_width():
    scores, groups = [0.9] * 6, list("abcdef")
    assert studentized_interval(GroupedMean.of(scores, groups), scores, groups) == (0.9, 0.9)
