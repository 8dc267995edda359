"""Which images to annotate next: the order, what is left out of it, the command."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import disc_images
from PIL import Image

from kerasunet.cli import main
from kerasunet.inference import next_images, pool_of
from kerasunet.inference.annotation_choice import Look, PoolImage, rank
from kerasunet.inference.segmentation import uncertainty


def scene(number: int) -> np.ndarray:
    """A picture like no other: smoothed noise, uint8, `(64, 64)`."""
    noise = np.random.default_rng(number).normal(size=(64, 64))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8)


def pool(count: int) -> list[PoolImage]:
    return [PoolImage(f"x{n}", f"patient{n // 3}", Path(f"x{n}.png")) for n in range(count)]


def look(gain: float, direction: int, picture: int) -> Look:
    features = np.zeros(30, np.float32)
    features[direction] = 1
    return Look(gain, 1 - gain, features, scene(picture))


def test_what_is_undecided_comes_first():
    looks = [look(gain, n, n) for n, gain in enumerate([0.1, 0.4, 0.2, 0.3])]
    ranked = rank(pool(4), looks, 3)
    assert [one.image.key for one in ranked] == ["x1", "x3", "x2"]
    assert ranked[0].gain == ranked[0].score == pytest.approx(0.4) and ranked[0].distance == 1
    by_entropy = rank(pool(4), looks, 1, by_disagreement=False)
    assert by_entropy[0].image.key == "x0" and by_entropy[0].gain == pytest.approx(0.9)


def test_near_copies_are_not_chosen():
    """Ten of the most undecided show the same, one of them with more contrast."""
    copies = [scene(0), *(np.clip(scene(0) * 0.8 + n, 0, 255).astype(np.uint8) for n in range(9))]
    looks = [Look(0.9, 0.9, np.eye(30, dtype=np.float32)[n], copy) for n, copy in enumerate(copies)]
    looks += [look(0.1, 10 + n, 1 + n) for n in range(20)]
    ranked = rank(pool(30), looks, 5)
    assert sum(int(one.image.key[1:]) < 10 for one in ranked) == 1
    beside = rank(pool(30), looks, 5, annotated=[look(0, 29, 0)])  # It shows the same, too.
    assert all(int(one.image.key[1:]) >= 10 for one in beside)


def test_what_is_far_from_those_chosen_beats_a_little_more_doubt():
    looks = [look(0.5, 0, 1), look(0.49, 0, 2), look(0.4, 1, 3), look(0.1, 2, 4)]
    assert [one.image.key for one in rank(pool(4), looks, 2)] == ["x0", "x2"]


def test_one_of_a_patient():
    looks = [look(0.9 - 0.01 * n, n, n) for n in range(9)]
    ranked = rank(pool(9), looks, 9, one_per_group=True)
    assert [one.image.group for one in ranked] == ["patient0", "patient1", "patient2"]
    assert len(rank(pool(9), looks, 9)) == 9 and rank([], [], 3) == []


def test_only_pixels_that_may_be_the_object_count():
    sure, undecided = np.zeros((20, 20), np.float32), np.zeros((20, 20), np.float32)
    sure[5:10, 5:10], undecided[5:10, 5:10] = 1, 0.5
    image = scene(0)
    assert Look.of([sure, sure], np.ones(3), image).entropy == pytest.approx(0, abs=1e-6)
    assert Look.of([undecided], np.ones(3), image).entropy == pytest.approx(1)
    assert Look.of([sure, 1 - sure], np.ones(3), image).disagreement == pytest.approx(1)
    nothing = Look.of([np.full((20, 20), 1e-4)], np.ones(3), image)
    assert 0 < nothing.entropy < 0.01


def test_of_several_objects_the_least_certain_counts():
    two = np.zeros((2, 20, 20), np.float32)
    two[0, 5:10, 5:10], two[1, 5:10, 5:10] = 1, 0.5
    assert Look.of([two], np.ones(3), scene(0)).entropy == pytest.approx(1)
    assert uncertainty([two]).shape == (20, 20) and uncertainty([two]).max() == pytest.approx(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images of which two are annotated, with a copy of one of these."""
    place = tmp_path_factory.mktemp("mixed")
    images, masks = disc_images(12, size=40)
    for name in ("images", "masks"):
        (place / name).mkdir()
    for number, picture in enumerate(images):
        Image.fromarray(picture).save(place / "images" / f"p{number // 2}_{number}.png")
    for number in (0, 1):
        Image.fromarray(masks[number]).save(place / "masks" / f"p0_{number}.png")
    Image.fromarray(images[0]).save(place / "images" / "p9_copy.png")
    return place


@pytest.mark.parametrize("layout", ["flat", "images", "mixed"])
def test_pools_are_the_images_without_a_mask(folder, tmp_path, layout):
    if layout == "mixed":
        found = pool_of(folder)
        assert (len(found.images), len(found.annotated)) == (11, 2)
        return
    place = tmp_path / "images" if layout == "images" else tmp_path
    shutil.copytree(folder / "images", place, dirs_exist_ok=True)
    found = pool_of(tmp_path, "^p([0-9])")
    assert (len(found.images), len(found.annotated)) == (13, 0)
    assert {image.group for image in found.images} == {f"patient-{n}" for n in (*range(6), 9)}
    with pytest.raises(ValueError, match=r"group pattern \(: not a regular expression"):
        pool_of(tmp_path, "(")


@pytest.mark.slow
def test_the_command_writes_a_table_and_a_sheet(folder, tmp_path, tiny_model_file, capsys):
    table, sheet = tmp_path / "next.csv", tmp_path / "next.png"
    words = ["next", tiny_model_file, folder, "--number", 4, "--csv", table, "--sheet", sheet]
    words += ["--engine", "keras", "--one-per-group", "--group-pattern", "^(p[0-9])"]
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr().out
    assert (
        f"4 of 11 images chosen by entropy and distance, beside 2 annotated ones: {table}" in said
    )
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert len({row["group"] for row in rows}) == 4
    assert all((folder / row["file"]).is_file() for row in rows)
    assert "images/p9_copy.png" not in [row["file"] for row in rows]
    for row in rows:
        assert float(row["score"]) == pytest.approx(
            float(row["gain"]) * float(row["distance"]), abs=2e-4
        )
    assert Image.open(sheet).size[0] > 1000
    assert main([*map(str, words)]) == 0  # What it wrote may be replaced,
    table.write_text("years of work")
    assert main([*map(str, words)]) == 2  # and nothing else.


@pytest.mark.slow
def test_several_models_are_asked_where_they_disagree(folder, tmp_path, tiny_model_file):
    from kerasunet import models

    model = models.load(tiny_model_file)
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, bias + 1])
    models.save(model, tmp_path / "other.keras", models.card(tiny_model_file))
    both = [tiny_model_file, tmp_path / "other.keras"]
    found = next_images(both, pool_of(folder), 3, engine="keras")
    assert found.several and not found.failures and len(found.ranked) == 3
    assert all(one.gain == one.disagreement > 0 for one in found.ranked)


@pytest.mark.slow
def test_images_that_cannot_be_read_are_named(folder, tmp_path, tiny_model_file):
    shutil.copytree(folder / "images", tmp_path, dirs_exist_ok=True)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = next_images([tiny_model_file], pool_of(tmp_path), 2, engine="keras")
    assert len(found.ranked) == 2 and "broken.png" in found.failures[0]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        pool_of(tmp_path / "none")
