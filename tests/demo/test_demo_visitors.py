"""What visitors give: files of several frames, masks, images that their own model has seen."""

import json
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import write_disc_pairs
from PIL import Image

pytest.importorskip("gradio")

from kerasunet import models  # noqa: E402
from kerasunet.comparison import Choice  # noqa: E402
from kerasunet.data.cases import FileCase  # noqa: E402
from kerasunet.data.checking import check  # noqa: E402
from kerasunet.data.identification import image_identities  # noqa: E402
from kerasunet.data.simulation import simulate  # noqa: E402
from kerasunet.demo import compare_batch as batch  # noqa: E402
from kerasunet.demo.context import PRETRAINED, ModelStore, SavedModel, problem_html  # noqa: E402
from kerasunet.demo.finetune_jobs import Workspace, files_of_adaptation, settings  # noqa: E402
from kerasunet.demo.finetune_rendering import check_html, status_html  # noqa: E402
from kerasunet.demo.study import open_folder  # noqa: E402
from kerasunet.demo.visitors import in_page_words, open_image, open_mask  # noqa: E402
from kerasunet.runs.background import Progress  # noqa: E402

PAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)


def stack(path, pages):
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others)
    return str(path)


def test_the_mask_is_that_of_the_frame(tmp_path):
    image = open_image(stack(tmp_path / "loop.tif", PAGES), frame=2)
    masks = (PAGES > 128).astype(np.uint8)
    several = open_mask(stack(tmp_path / "masks.tif", masks), image)
    np.testing.assert_array_equal(several, PAGES[2] > 128)
    one = open_mask(stack(tmp_path / "mask.png", masks[1:2]), image)
    np.testing.assert_array_equal(one, PAGES[1] > 128)
    assert (image.frame, image.frames) == (2, 3)


@pytest.mark.parametrize("count", [2, 3])
def test_a_mask_of_more_frames_than_the_image_is_refused(tmp_path, count):
    Image.fromarray(PAGES[0]).save(tmp_path / "x.png")
    image = open_image(str(tmp_path / "x.png"))
    masks = stack(tmp_path / "masks.tif", (PAGES[:count] > 128).astype(np.uint8))
    with pytest.raises(ValueError, match=rf"^masks\.tif: has {count} frames, the image 1; export"):
        open_mask(masks, image)


@pytest.mark.slow
def test_a_batch_has_no_frame_to_choose(tmp_path):
    with pytest.raises(ValueError, match=r"^loop\.tif: it has 3 frames; say which: frame 0 to 2"):
        open_image(stack(tmp_path / "loop.tif", PAGES))


@pytest.fixture
def own_model(tiny_model_file, tmp_path):
    """A function that saves a visitor's model of a data set which has seen the images of files."""

    def save(data: str, *files: Path) -> SavedModel:
        card = models.card(tiny_model_file)
        cases = [FileCase(path.name, path.name, path, ()) for path in files]
        seen = tuple(sorted(image_identities(cases).values()))
        known = replace(card, data=replace(card.data, name=data), seen=seen, modality="")
        shutil.copyfile(tiny_model_file, tmp_path / "model.keras")
        (tmp_path / "model.json").write_text(json.dumps(known.to_json()))
        return SavedModel.of_visitor("yours-1", tmp_path / "model.keras")

    return save


def test_a_visitors_model_has_seen_the_images_that_it_was_trained_on(own_model, tmp_path):
    for number, name in enumerate(("seen", "new")):
        drawn = simulate("breast-ultrasound", 4, number, size=(96, 128))
        cv2.imwrite(str(tmp_path / f"{name}.png"), drawn.image)
        cv2.imwrite(str(tmp_path / f"{name}_mask.png"), drawn.mask.astype(np.uint8))
    ours = own_model("discs", tmp_path / "seen.png")
    results, candidate = batch.BatchResults([], {}), ModelStore().candidate(ours)
    given = batch.pair_masks([str(path) for path in sorted(tmp_path.glob("*.png"))])
    list(batch.run(results, given, lambda _: [candidate], modality="", choice=Choice()))
    assert {line["image"]: line["seen"] for line in results.lines} == {
        "seen.png": "yes",
        "new.png": "no",
    }
    (dice,) = (line["dice"] for line in results.lines if line["image"] == "new.png")
    cells = ("<td>2</td>", "<td>1</td>", "<td>1</td>", f"<td>{float(dice):.3f}</td>")
    assert "".join(cells) in batch.table_html(results.lines)


@pytest.mark.parametrize(
    ("data", "modality"), [("simulated-ultrasound", "ultrasound"), ("jsrt", "xray"), ("discs", "")]
)
def test_a_visitors_model_is_compared_on_its_kind_of_image(own_model, data, modality):
    ours = own_model(data)
    assert (ours.modality, ours.objects) == (modality, ())
    for kind in ("ultrasound", "xray"):
        others = ModelStore().for_modality(kind, (ours,))
        assert (ours in others) == (modality in (kind, ""))


def test_colors_are_told(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    files = {"photo": levels, "gray": levels[..., :1].repeat(3, axis=2)}
    for name, pixels in files.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        assert open_image(str(tmp_path / f"{name}.png")).is_colored == (name == "photo")
    results = batch.BatchResults([], {})
    given = [(str(tmp_path / f"{name}.png"), None) for name in files]
    list(batch.run(results, given, lambda _: [], modality="", choice=Choice()))
    assert len(results.warnings) == 1 and results.warnings[0].startswith("photo.png: it has colors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("too optimistic; give another --init, or use kerasunet adapt",
         "too optimistic; give another “Start from”, or use “Find the best start and layers”"),
        ("--objects NAME=150, or --mask-threshold 0", "“Objects” NAME=150, or “Mask threshold” 0"),
        ("give --groups", "give --groups (on the command line)"),
        ("use --image-size 128", "use “Image size in pixels” 128"),
        ("3 - 2 -- 1", "3 - 2 -- 1"),
    ],
)  # fmt: skip
def test_messages_have_the_words_of_the_page(text, words):
    assert in_page_words(text) == words
    assert escape(words) in problem_html(ValueError(text))
    progress = Progress("training", 1, 2, warnings=(text,))
    assert escape(words) in status_html(progress)


def test_a_check_names_the_fields_of_the_page(tmp_path):
    write_disc_pairs(tmp_path, 4)
    for path in (tmp_path / "masks").iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 255
        labels[:3, :3] = 2
        cv2.imwrite(str(path), labels)
    shown = check_html(check(str(tmp_path)))
    assert "“Objects” NAME=1" in shown and "--objects" not in shown


@pytest.mark.parametrize(
    ("steps", "rate", "told"),
    [
        (-5, 1e-3, "Steps: -5 is not a whole number from 1 to 100,000,000"),
        (2.5, 1e-3, "Steps: 2.5 is not a whole number"),
        (float("nan"), 1e-3, "Steps: nan is not a whole number"),
        (None, 1e-3, "Steps: is empty"),
        (2, None, "Learning rate: is empty"),
        (2, -1, "Learning rate must be"),
    ],
)
def test_a_number_is_refused_by_the_name_of_its_field(tmp_path, steps, rate, told):
    report = check(str(write_disc_pairs(tmp_path, 4)))
    with pytest.raises(ValueError, match=f"^{told}"):
        settings(report, "all", steps, PRETRAINED, 32, rate)
    assert settings(report, "all", 2.0, PRETRAINED, 32, 1e-3).optimization.steps == 2


def test_what_an_answer_names_can_be_had(tmp_path):
    for name in ("model.keras", "model.json", "answer.md", "failures.png", "answer.json"):
        (tmp_path / name).touch()
    found = [Path(path).name for path in files_of_adaptation(tmp_path)]
    assert found == ["model.keras", "model.json", "answer.md", "failures.png"]


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_field_is_not_the_folder_that_the_demo_runs_in(text, tmp_path, monkeypatch):
    write_disc_pairs(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    for read in (Workspace(tmp_path / "own").open_data, open_folder):
        with pytest.raises(ValueError, match="the path is empty; give that of a folder"):
            read(text)
