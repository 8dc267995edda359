"""Near-duplicates: every kind of copy is found among speckle, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kerasunet.data import load
from kerasunet.data.groups import NearDuplicates, find_near_duplicates, group

COUNT = 30


def pictures(name: str, count: int = COUNT) -> list[np.ndarray]:
    return [case.load().image for case in load(f"{name}:{count}", size=128).cases]


@pytest.fixture(scope="module")
def scans() -> list[np.ndarray]:
    return pictures("simulated-ultrasound")


def found(images, **options):
    return [(pair.first, pair.second) for pair in find_near_duplicates(images, **options)]


def recompressed(image: np.ndarray) -> np.ndarray:
    _, jpeg = cv2.imencode(".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 25])
    return cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)


def with_callipers(image: np.ndarray) -> np.ndarray:
    marked = image.copy()
    for row, column in ((40, 30), (40, 90), (20, 60), (80, 60)):
        marked[row - 3 : row + 4, column] = marked[row, column - 3 : column + 4] = 255
    return marked


COPIES = {
    "the same file": lambda image: image.copy(),
    "brighter": lambda image: np.clip(image * 0.8 + 40, 0, 255),
    "other gamma": lambda image: 255 * (image / 255) ** 0.6,
    "cut at the left and top": lambda image: image[4:, 5:],
    "cut at the right": lambda image: image[:, :-4],
    "another size": lambda image: cv2.resize(image, (90, 70), interpolation=cv2.INTER_AREA),
    "recompressed": recompressed,
    "in color": lambda image: np.repeat(image[..., None], 3, axis=2),
    "with callipers": with_callipers,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned by a half, darker": lambda image: image[::-1, ::-1] * 0.7,
    "turned by a quarter": lambda image: np.rot90(image),
    "turned by three quarters, recompressed": lambda image: recompressed(np.rot90(image, 3)),
    "transposed": lambda image: image.T,
    "mirrored and turned": lambda image: np.rot90(image)[:, ::-1],
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_each_kind_of_copy_is_found_and_nothing_else(scans, copy):
    copies = [copy(scans[index]) for index in (3, 11, 20)]
    assert found([*scans, *copies]) == [(3, COUNT), (11, COUNT + 1), (20, COUNT + 2)]


@pytest.mark.parametrize("name", ["simulated-ultrasound", "simulated-xray", "simulated-natural"])
def test_different_images_are_not_near_duplicates(name):
    assert found(pictures(name, 60)) == []


def test_an_exact_copy_is_found_among_images_that_are_all_alike():
    chests = pictures("simulated-xray")
    assert found([*chests, chests[7] * 0.9]) == [(7, COUNT)]
    assert found([*chests, chests[7][:, ::-1] * 0.9]) == [(7, COUNT)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("simulated-xray", (0.05, 0.05, 0.05, 0.05)),
        ("simulated-xray", (0.15, 0.15, 0.15, 0.15)),
        ("simulated-ultrasound", (0.1, 0.1, 0.1, 0.1)),
        ("simulated-ultrasound", (0.08, 0, 0.02, 0.1)),
    ],
    ids=str,
)
def test_a_crop_is_found_where_all_images_are_alike_and_nothing_else(name, shares):
    images = pictures(name, 60)
    top, bottom, left, right = (round(share * 128) for share in shares)
    crops = [images[n][top : 128 - bottom, left : 128 - right] for n in (4, 30)]
    assert found([*images, *crops], crops=True) == [(4, 60), (30, 61)]
    assert found([*images, *crops]) == [], "groups of older splits stay as they were"


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 8, 14])
def test_black_frames_make_no_near_duplicates_of_chests_but_hide_none(width):
    chests = pictures("simulated-xray", 60)
    for chest in chests[:16]:
        chest[:width] = chest[-width:] = chest[:, :width] = chest[:, -width:] = 0
    assert found(chests) == []
    assert found([*chests, recompressed(chests[5]), chests[30] * 0.9]) == [(5, 60), (30, 61)]


def test_correlation_tells_how_alike_a_pair_is(scans):
    (exact,) = find_near_duplicates([*scans, scans[0]])
    (changed,) = find_near_duplicates([*scans, with_callipers(scans[0])])
    assert exact.correlation == pytest.approx(1)
    assert 0.5 <= changed.correlation < exact.correlation


def test_in_a_set_of_few_images_only_very_alike_ones_count(scans):
    assert found([scans[0], scans[1], scans[0] * 0.9]) == [(0, 2)]
    assert found(pictures("simulated-xray", 8)) == []


def test_images_without_detail_are_in_no_pair():
    rows = np.mgrid[:64, :64][0].astype(np.float32)
    assert found([np.full((40, 40), 7.0), np.zeros((40, 40)), np.full((40, 40), 7.0)]) == []
    assert found([rows / 50, rows / 50]) == []
    assert found([]) == found([rows]) == []


@pytest.mark.slow
def test_large_sets_are_searched_tile_by_tile():
    noise = np.random.default_rng(0).integers(0, 256, (4200, 32, 32)).astype(np.float32)
    noise[4100], noise[3000], noise[70] = noise[5], noise[2999], noise[69]
    assert found(noise) == [(5, 4100), (69, 70), (2999, 3000)]


def test_images_may_come_one_by_one(scans):
    assert found(image for image in [*scans, scans[5]]) == [(5, COUNT)]


def test_groups_are_joined_through_others():
    pairs = [NearDuplicates(0, 1, 1.0), NearDuplicates(1, 2, 0.9), NearDuplicates(4, 5, 0.8)]
    assert group(["c", "b", "a", "d", "f", "e"], pairs) == ["a", "a", "a", "d", "e", "e"]


def test_joining_keeps_the_other_images_of_a_patient():
    patients = ["p2", "p2", "p1", "p1", "p3"]
    assert group(patients, [NearDuplicates(1, 2, 1.0)]) == ["p1", "p1", "p1", "p1", "p3"]
    assert group(patients, []) == patients


def test_a_long_chain_is_one_group():
    count = 5000
    chain = [NearDuplicates(index, index + 1, 1.0) for index in range(count - 1)]
    assert set(group([f"{index:05d}" for index in range(count)], chain)) == {"00000"}
