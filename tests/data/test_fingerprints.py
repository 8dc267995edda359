"""Fingerprints: copies of an image are recognized by a number, other images are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kerasunet.data import load
from kerasunet.data.identification import (
    distances,
    fingerprint,
    image_identities,
    known_images,
    recognized,
    united,
)

COUNT = 24


def pictures(name: str, count: int = COUNT) -> list[np.ndarray]:
    return [case.load().image for case in load(f"{name}:{count}", size=128).cases]


@pytest.fixture(scope="module", params=["simulated-ultrasound", "simulated-xray"])
def scans(request) -> list[np.ndarray]:
    return pictures(request.param)


def recompressed(image: np.ndarray) -> np.ndarray:
    _, jpeg = cv2.imencode(".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40])
    return cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)


COPIES = {
    "brighter": lambda image: np.clip(image * 0.8 + 30, 0, 255),
    "larger": lambda image: cv2.resize(image, (333, 200), interpolation=cv2.INTER_LINEAR),
    "smaller": lambda image: cv2.resize(image, (80, 90), interpolation=cv2.INTER_AREA),
    "recompressed": recompressed,
    "in color": lambda image: np.repeat(image[..., None], 3, axis=2),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_recognized_and_no_other_image(scans, copy):
    known = [fingerprint(image) for image in scans[: COUNT // 2]]
    found = recognized([fingerprint(copy(image)) for image in scans], known)
    assert found.tolist() == [True] * (COUNT // 2) + [False] * (COUNT // 2)


@pytest.mark.parametrize("others", [0, 60])
def test_known_photographs_change_nothing_for_chests(others):
    """A model knows its start's photographs, too: 10,000 beside a few hundred chests."""
    chests, photographs = pictures("simulated-xray", 36), pictures("simulated-natural", others + 1)
    known = [fingerprint(image) for image in [*chests[:30], *photographs[:others]]]
    copies = [fingerprint(recompressed(image)) for image in chests[24:]]
    assert recognized(copies, known).tolist() == [True] * 6 + [False] * 6
    assert recognized(copies[:1], known).tolist() == [True]


def test_distance_counts_bits():
    half = "0f" * 32
    assert distances([half, "ff" * 32], [half, "00" * 32]).tolist() == [[0, 128], [128, 256]]


def test_an_image_without_detail_is_like_no_other():
    blank = fingerprint(np.full((40, 50), 90.0))
    assert blank == "0" * 64
    assert not recognized([blank], [blank]).any()
    assert not recognized([], [blank]).any() and not recognized([blank], []).any()


def test_identities_tell_the_same_pixels_and_older_ones_have_no_fingerprint(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        image = cv2.resize(rng.integers(0, 256, (9, 9)).astype(np.uint8), (60, 60))
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), np.uint8(image > 128) * 255)
    identities = [*image_identities(load(tmp_path).cases).values()]
    assert len({*identities}) == 3 and {len(text) for text in identities} == {80}
    assert known_images(identities, [identities[1]]).tolist() == [False, True, False]
    assert known_images(identities, [identities[2][:16]]).tolist() == [False, False, True]
    assert united([identities[0], identities[0][:16]]) == (identities[0],)
    simulated = [*image_identities(load("simulated-xray:2").cases).values()]
    assert known_images(simulated, simulated[:1]).tolist() == [True, False]
