"""Identify images: which one, by pixels or by appearance, and of which modality, by appearance.

And say how alike two images are, as `groups` compares them.

A model card lists the images that its model was trained on, and no image can be drawn again from
what is listed. Scaled, recompressed, brighter or darker copies have other pixels, but nearly the
same fingerprint. The modality of a data set by its name is in `kerasunet.objects`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from kerasunet.data.cache import PutRow, cached_rows
from kerasunet.data.cases import Case, DataSet, Sample, SimulatedCase
from kerasunet.data.decoding import load_each, resize_image, to_gray
from kerasunet.objects import Modality, modality_of

_SIDE, _SMOOTH = 16, 1.5
BITS = _SIDE**2
NEAR, _UNLIKE, _NEIGHBORS = 56, 95, 20
"""Bits by which a copy may differ where so many others differ by as many bits, or by more."""
_DIGEST_BYTES, _PRINT_BYTES = 8, BITS // 8
_ROW = (1, 1, _DIGEST_BYTES + _PRINT_BYTES)  # Kept like an image.
DIGEST_DIGITS, PRINT_DIGITS = 2 * _DIGEST_BYTES, 2 * _PRINT_BYTES
_MEASURED_SIDE, _NUMBERS = 64, 3
_NUMBERS_ROW = (1, 1, _NUMBERS * np.dtype(np.float64).itemsize)
_GUESSED_SIDE = 256
_FEWEST_FOR_SPANS = 20
_LOOKED_AT = 25
_GRAIN, _GRAIN_OF_SYMMETRIC = 0.02, 0.03
_COARSE, THUMBNAIL_SIDE = 32, 64
_COARSE_SMOOTH, _FINE_SMOOTH = 3.0, 2.0
_STRONGEST = 3  # Standard deviations of fine details.
_ALIGNMENT = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 25, 1e-3)
_LEAST_OVERLAP = 0.7
_COLOR, _COLORED = 16, 0.2
"""Gray levels between channels that make a color, and the share of an image that has one."""


def fingerprint(image: np.ndarray) -> str:
    """Return 64 hexadecimal digits that identify an image by its appearance.

    The image is shrunk to 16×16 pixels by area, and freed of what is smooth; of each pixel one bit
    is kept: whether it is brighter than the median (after the median hash of Yang et al., Block
    Mean Value Based Image Perceptual Hashing, IIH-MSP 2006).

    Args:
        image: `(height, width)` or `(height, width, 3)`, 0 to 255, of any size.

    Returns:
        The fingerprint; zeros for an image without any detail, which no other image is like.
    """
    return _bits(image).tobytes().hex()


def distances(some: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Return by how many of 256 bits fingerprints differ, int, `(some, others)`."""
    one, other = (_unpacked(texts) for texts in (some, others))
    return np.rint((BITS - one @ other.T) / 2).astype(int)


def recognized(some: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Return which fingerprints are those of a copy of a known image.

    A copy of a known image differs by at most 56 of 256 bits, and by fewer where images look alike,
    as chests do: in proportion to the square of what the 20 nearest of the other known images
    differ by, in the median. That is 88 for breasts and 40 for chests, whatever else is known. This
    finds 94 % of the known pairs of BUSI, and takes no image of BUSI, BUS-BRA, JSRT or Shenzhen for
    one of another set, or of DUTS (`benchmarks/near_duplicates.py`).

    Args:
        some: Fingerprints.
        known: Fingerprints of known images.

    Returns:
        Bool, `(some,)`.
    """
    found = [text for text in known if text.strip("0")]
    apart = distances(some, found)
    near = np.flatnonzero(apart.min(axis=0, initial=BITS) <= NEAR)
    if not near.size:
        return np.zeros(len(some), bool)
    most = most_bits([found[place] for place in near], found)
    has_detail = np.array([bool(text.strip("0")) for text in some])
    return (apart[:, near] <= most).any(axis=1) & has_detail


def most_bits(some: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Return by how many bits a copy of each of some known images may differ, `(some,)`."""
    nearest = np.sort(distances(some, known))[:, 1 : _NEIGHBORS + 1]  # But the image itself.
    if not nearest.size:
        return np.full(len(some), float(NEAR))
    return NEAR * np.minimum(1, np.median(nearest, axis=1) / _UNLIKE) ** 2


def image_identities(cases: Sequence[Case]) -> dict[str, str]:
    """Tell images by their pixels and by their look, or take it from the cache.

    Args:
        cases: What to read.

    Returns:
        By key, 80 hexadecimal digits: 16 of a digest of the gray levels, rounded to whole ones, at
        the size of the file, and 64 of the fingerprint. Of a simulated case, which may have any
        size, only 16 digits, of its key.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """
    read = [case for case in cases if not isinstance(case, SimulatedCase)]

    def identify(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, sample: Sample) -> None:
            row = np.frombuffer(bytes.fromhex(image_identity(sample.image)), np.uint8)
            put(index, row.reshape(_ROW), np.zeros(_ROW[:2], bool))

        load_each(read, indices, keep)

    digits = {case.key: hashlib.sha256(case.key.encode()).hexdigest() for case in cases}
    found = {key: text[:DIGEST_DIGITS] for key, text in digits.items()}
    if read:
        rows = cached_rows(read, _ROW, identify).images
        found |= {case.key: row.tobytes().hex() for case, row in zip(read, rows, strict=True)}
    return found


def image_identity(image: np.ndarray) -> str:
    """Return the 80 digits of `image_identities` for an image as a file holds it, 0 to 255."""
    return np.concatenate([_digest(image), _bits(image)]).tobytes().hex()


def united(identities: Iterable[str]) -> tuple[str, ...]:
    """Return identities sorted, each image once: with its fingerprint, if any has it."""
    by_digest = {text[:DIGEST_DIGITS]: text for text in sorted(identities, key=len)}
    return tuple(sorted(by_digest.values()))


def known_images(identities: Sequence[str], known: Iterable[str]) -> np.ndarray:
    """Return which images are known: the same pixels, or the appearance of a copy.

    Args:
        identities: Of the images, as `image_identities` returns them.
        known: Of the known ones; older ones have no fingerprint.

    Returns:
        Bool, `(identities,)`.
    """
    known = tuple(known)
    digests = {text[:DIGEST_DIGITS] for text in known}
    same = np.array([text[:DIGEST_DIGITS] in digests for text in identities], bool)
    prints = [text[DIGEST_DIGITS:] or "0" * PRINT_DIGITS for text in identities]
    return same | recognized(prints, [p for text in known if (p := text[DIGEST_DIGITS:])])


def _digest(image: np.ndarray) -> np.ndarray:
    gray = np.clip(np.rint(to_gray(image)), 0, 255).astype(np.uint8)
    made = hashlib.sha256(repr(gray.shape).encode() + gray.tobytes()).digest()
    return np.frombuffer(made[:_DIGEST_BYTES], np.uint8)


def _bits(image: np.ndarray) -> np.ndarray:
    """Return the fingerprint as uint8, `(32,)`."""
    small = resize_image(image, (_SIDE, _SIDE))[..., 0].astype(np.float32)
    smooth = cv2.GaussianBlur(small, (0, 0), _SMOOTH, borderType=cv2.BORDER_REFLECT)
    details = small - smooth
    return np.packbits(details.ravel() > np.median(details))


def _unpacked(texts: Sequence[str]) -> np.ndarray:
    """Return bits as float32 of -1 and 1, `(texts, 256)`."""
    packed = np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, _PRINT_BYTES)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def guess_modality(image: np.ndarray) -> Modality:
    """Guess whether an image is an ultrasound image or a chest X-ray.

    Speckle is grainy; a radiograph is smooth, and a chest is nearly symmetric. There is no third
    answer, so let the person who gives the image confirm it.

    Args:
        image: Gray levels 0 to 255, `(height, width)` or RGB `(height, width, 3)`.

    Returns:
        `"ultrasound"` or `"xray"`.
    """
    gray = to_gray(image.astype(np.float32, copy=False))
    small = cv2.resize(gray, (_GUESSED_SIDE, _GUESSED_SIDE), interpolation=cv2.INTER_AREA)
    contrast = float(small.std())
    if contrast == 0:
        return "ultrasound"
    grain = float(np.median(np.abs(small - cv2.GaussianBlur(small, (0, 0), 1.5)))) / contrast
    symmetry = float(np.corrcoef(small.ravel(), small[:, ::-1].ravel())[0, 1])
    return "ultrasound" if grain > _GRAIN + _GRAIN_OF_SYMMETRIC * symmetry else "xray"


def guess_of_all(images: Iterable[np.ndarray]) -> Modality | None:
    """Guess what kind of images a data set holds from some of them.

    Args:
        images: Gray levels 0 to 255, `(height, width)` or RGB `(height, width, 3)`.

    Returns:
        What most of them look like: `"photograph"` if they have colors, otherwise as
        `guess_modality`; `None` without any image.
    """
    guesses = Counter("photograph" if _has_colors(i) else guess_modality(i) for i in images)
    return guesses.most_common(1)[0][0] if guesses else None


def _has_colors(image: np.ndarray) -> bool:
    """Whether more than a mark or a color bar has a color."""
    if image.ndim == 2:
        return False
    levels = image.astype(np.float32, copy=False)
    return bool((np.ptp(levels, axis=2) > _COLOR).mean() > _COLORED)


class ImageStatistics(NamedTuple):
    """What each image is like, float64, `(cases,)`.

    Attributes:
        brightness: Mean gray level, 0 to 255.
        contrast: Standard deviation of the gray levels of the image at 64×64 pixels.
        aspect: Width divided by height.
    """

    brightness: np.ndarray
    contrast: np.ndarray
    aspect: np.ndarray

    @property
    def all_square(self) -> bool:
        """Whether somebody cut or stretched all images: nobody knows what they were before."""
        return bool((self.aspect == 1).all())


def image_statistics(cases: Sequence[Case]) -> ImageStatistics:
    """Measure images, or take it from the cache.

    Args:
        cases: What to read, at least one.

    Raises:
        ValueError: Files could not be used; the message lists every one of them.
    """

    def measure(indices: Sequence[int], put: PutRow) -> None:
        def keep(index: int, sample: Sample) -> None:
            height, width = sample.image.shape[:2]
            gray = resize_image(sample.image, (_MEASURED_SIDE, _MEASURED_SIDE))
            row = np.array([gray.mean(), gray.std(), width / height])
            put(
                index,
                row.view(np.uint8).reshape(_NUMBERS_ROW),
                np.zeros(_NUMBERS_ROW[:2], bool),
            )

        load_each(cases, indices, keep)

    rows = cached_rows(cases, _NUMBERS_ROW, measure).images
    return ImageStatistics(*np.frombuffer(rows.tobytes()).reshape(-1, _NUMBERS).T)


def image_spans(cases: Sequence[Case], most: int = 1000) -> dict[str, tuple[float, float]]:
    """Return from where to where images are alike, but for a hundredth of them at either end.

    Args:
        cases: What to measure.
        most: Images to read, spread evenly over the cases.

    Returns:
        Spans of brightness, contrast, and, unless all images are squares, aspect; nothing of
        fewer than 20 images, which say too little.

    Raises:
        ValueError: Files could not be used.
    """
    if len(cases) < _FEWEST_FOR_SPANS:
        return {}
    measured = image_statistics(cases[:: math.ceil(len(cases) / most)])
    kinds = measured._asdict()
    if measured.all_square:
        del kinds["aspect"]
    percentiles = {kind: np.percentile(values, [1, 99]) for kind, values in kinds.items()}
    return {kind: (float(low), float(high)) for kind, (low, high) in percentiles.items()}


def modality_of_data(data: DataSet) -> Modality | None:
    """Return what kind of image a data set holds: by its name, else as some images look."""
    some = data.cases[:: max(1, len(data) // _LOOKED_AT)][:_LOOKED_AT]
    return modality_of(data.name) or guess_of_all(case.load().image for case in some)


UNCUT = (0.0, 0.0, 0.0, 0.0)
_BLUR = cv2.GaussianBlur(
    np.eye(_COARSE),
    (1, 2 * round(4 * _COARSE_SMOOTH) + 1),
    1,
    sigmaY=_COARSE_SMOOTH,
    borderType=cv2.BORDER_REFLECT,
).astype(np.float32)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return what the search compares of an image: uint8, `(64, 64)`; idempotent."""
    return resize_image(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))[..., 0]


def coarse_details(thumbnails: np.ndarray, cut: Sequence[float] = UNCUT) -> np.ndarray:
    """Return what is not smooth in images of 32×32 pixels, shrunk by area.

    Args:
        thumbnails: `(images, 64, 64)`.
        cut: Which shares of them are cut off first: left, right, top and bottom.

    Returns:
        Float32, `(images, 1024)`, of norm 1; of norm 0 where there are no details.
    """
    along, down = _shrinking(*cut[:2]), _shrinking(*cut[2:])
    small = _along_both(down, thumbnails.astype(np.float32), along)
    details = small - _along_both(_BLUR, small, _BLUR)
    details = (details - details.mean(axis=(1, 2), keepdims=True)).reshape(len(small), -1)
    norms = np.linalg.norm(details, axis=1, keepdims=True)
    # A standard deviation below half a gray level is rounding, not a picture.
    return np.where(norms > 0.5 * _COARSE, details / np.maximum(norms, 1), 0)


def _along_both(down: np.ndarray, images: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Apply a matrix down the columns and one along the rows of images."""
    count, height, width = images.shape
    rows = (images.reshape(-1, width) @ along.T).reshape(count, height, -1)
    return np.matmul(down, rows)


def _shrinking(before: float, after: float) -> np.ndarray:
    """Return the matrix, float32 (32, 64), that shrinks by area what is left of a side."""
    edges = THUMBNAIL_SIDE * np.linspace(before, 1 - after, _COARSE + 1)
    pixels = np.arange(THUMBNAIL_SIDE)
    low, high = edges[:-1, None], edges[1:, None]
    shared = np.minimum(high, pixels + 1) - np.maximum(low, pixels)
    return (np.maximum(shared, 0) / (high - low)).astype(np.float32)


def _without_smooth(image: np.ndarray, deviation: float) -> np.ndarray:
    image = image.astype(np.float32)
    return image - cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT)


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of the finer details of two thumbnails, as they are or aligned.

    Strong details are clipped: the edge of a black frame would outweigh all anatomy.
    """
    details, others = _fine_details(one), _fine_details(other)
    everywhere = np.ones(one.shape, bool)
    found = _correlation(details, others, everywhere)
    warp = _alignment(one, other)
    if warp is None:
        return found
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    common = cv2.warpAffine(np.ones_like(details), warp, one.shape, flags=flags) > 0.99
    if common.mean() < _LEAST_OVERLAP:
        return found
    moved = cv2.warpAffine(others, warp, one.shape, flags=flags)
    return max(found, _correlation(details, moved, common))


def _fine_details(image: np.ndarray) -> np.ndarray:
    details = _without_smooth(image, _FINE_SMOOTH)
    strongest = _STRONGEST * 1.4826 * float(np.median(np.abs(details)))
    return np.clip(details, -strongest, strongest) if strongest else details


def _alignment(one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """Return the affine map, (2, 3), between them (ECC, Evangelidis and Psarakis, PAMI 2008).

    `None` where the search does not converge.
    """
    first, second = (_without_smooth(picture, THUMBNAIL_SIDE / 8) for picture in (one, other))
    start = np.eye(2, 3, dtype=np.float32)
    try:
        settings = (cv2.MOTION_AFFINE, _ALIGNMENT, None, 5)
        return cv2.findTransformECC(first, second, start, *settings)[1]  # type: ignore[call-overload]
    except cv2.error:
        return None


def _correlation(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    first, second = one[where] - one[where].mean(), other[where] - other[where].mean()
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return min(float(first @ second) / norms, 1.0) if norms else 0.0
