"""`kerasunet predict` on files of several frames, and on folders."""

import csv

import numpy as np
import pytest
from helpers.images import disc_images
from PIL import Image

from kerasunet import Segmenter
from kerasunet.cli import main

FRAMES = disc_images(3)[0]


@pytest.fixture
def stack(tmp_path):
    first, *others = map(Image.fromarray, FRAMES)
    first.save(tmp_path / "loop.tif", save_all=True, append_images=others)
    Image.fromarray(FRAMES[0]).save(tmp_path / "still.png")
    return tmp_path


def predicted(folder, model, *words):
    """Run the verb; return the rows of the table and the masks by name."""
    out = folder / "out"
    status = main(["predict", str(model), *map(str, words), "--output", str(out)])
    assert status == 0
    with open(out / "areas.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, {path.stem: np.asarray(Image.open(path)) for path in (out / "masks").iterdir()}


def test_every_frame_is_segmented(stack, tiny_model_file, capsys):
    rows, masks = predicted(stack, tiny_model_file, stack / "loop.tif", stack / "still.png")
    names = [("loop.tif", "0"), ("loop.tif", "1"), ("loop.tif", "2"), ("still.png", "")]
    assert [(row["image"], row["frame"]) for row in rows] == names
    assert "4 of 4 images segmented" in capsys.readouterr().out
    segment = Segmenter(tiny_model_file)
    for number, row in enumerate(rows[:3]):
        expected = segment(FRAMES[number]).mask
        np.testing.assert_array_equal(masks[f"loop-frame000{number}"] > 0, expected)
        assert int(row["area_pixels"]) == expected.sum()
    np.testing.assert_array_equal(masks["still"], masks["loop-frame0000"])


def test_one_frame_may_be_named(stack, tiny_model_file, capsys):
    rows, masks = predicted(stack, tiny_model_file, stack / "loop.tif", "--frame", 2)
    assert [(row["image"], row["frame"]) for row in rows] == [("loop.tif", "2")]
    expected = Segmenter(tiny_model_file)(stack / "loop.tif", frame=2).mask
    np.testing.assert_array_equal(masks["loop-frame0002"] > 0, expected)
    words = ["predict", str(tiny_model_file), str(stack / "loop.tif"), "--frame", "3"]
    assert main([*words, "--output", str(stack / "out")]) == 2
    assert "loop.tif: there is no frame 3; it has 3" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["predict", "next"])
def test_images_in_subfolders_of_a_folder_of_images_are_named(stack, tiny_model_file, capsys, verb):
    (stack / "old" / "P1").mkdir(parents=True)
    for name in ("a.png", "P1/b.png"):
        Image.fromarray(FRAMES[1]).save(stack / "old" / name)
    to = {"predict": ["--output", stack / "out"], "next": ["--csv", stack / "next.csv"]}[verb]
    assert main([verb, str(tiny_model_file), str(stack), *map(str, to)]) == 0
    said = capsys.readouterr().out
    assert f"{stack}: not read, in its subfolders: 2 .png; give each by itself" in said
    assert main([verb, str(tiny_model_file), str(stack / "old"), *map(str, to)]) == 0
    assert "in its subfolders: 1 .png" in capsys.readouterr().out
