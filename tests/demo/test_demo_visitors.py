"""What visitors give: files of several frames, masks, images that their own model has seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from kerasunet import models  # noqa: E402
from kerasunet.comparison import Choice  # noqa: E402
from kerasunet.data.cases import FileCase  # noqa: E402
from kerasunet.data.identification import image_identities  # noqa: E402
from kerasunet.data.simulation import simulate  # noqa: E402
from kerasunet.demo import compare_batch as batch  # noqa: E402
from kerasunet.demo.context import ModelStore, SavedModel  # noqa: E402
from kerasunet.demo.visitors import open_image, open_mask  # noqa: E402

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
