"""Tiny data sets in the folder layouts that kerasunet reads, for the tests.

Every scene has a place of its own for its bright object, so that an image which is paired with the
mask of another is found out: `paired` compares the mask with the bright pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (24, 32)
BACKGROUND, OBJECT = 40, 220


def mask_of(number: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A rectangle whose place tells the number, 0 to 99; bool."""
    mask = np.zeros(shape, bool)
    row, column = 1 + (number // 10) % 10, 2 + number % 10 * 2
    mask[row : row + 9, column : column + 7] = True
    return mask


def image_of(mask: np.ndarray) -> np.ndarray:
    """Gray levels, uint8, bright where the mask is."""
    return np.where(mask, OBJECT, BACKGROUND).astype(np.uint8)


def colored(pixels: np.ndarray) -> np.ndarray:
    """Gray or bool to RGB, uint8."""
    gray = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    return np.repeat(gray[..., None], 3, axis=2)


def write(path: Path, pixels: np.ndarray) -> Path:
    """Writes gray, RGB or, as 1-bit PNG, bool pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_rows(path: Path, header: str, *rows: str) -> Path:
    """Writes a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_pair(image: Path, mask: Path, number: int) -> None:
    """Writes the image and the mask of a number."""
    write(image, image_of(mask_of(number)))
    write(mask, mask_of(number))


def paired(case) -> bool:
    """Whether the mask is where the image is bright, and only there."""
    image, mask, _ = case.load()
    gray = image if image.ndim == 2 else image[..., 0]
    return np.array_equal(mask, gray > (BACKGROUND + OBJECT) / 2)


def make_duts(folder: Path, count: int = 4) -> Path:
    """JPEG photographs with anti-aliased masks, one of them RGB."""
    root = folder / "DUTS-TR"
    for number in range(count):
        mask = mask_of(number)
        write(root / "DUTS-TR-Image" / f"n{number:02d}_1.jpg", colored(image_of(mask)))
        soft = mask * np.uint8(255)
        soft[:, 1:] = np.maximum(soft[:, 1:], soft[:, :-1] // 2)
        write(
            root / "DUTS-TR-Mask" / f"n{number:02d}_1.png",
            colored(soft) if number == 0 else soft,
        )
    return folder


def make_ecssd(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        write_pair(
            folder / "images" / f"{number:04d}.png",
            folder / "ground_truth_mask" / f"{number:04d}.png",
            number,
        )
    return folder


def make_bus_bra(folder: Path, patients: int = 6) -> Path:
    """Two views of each patient; the official folds go by patient."""
    root = folder / "BUSBRA"
    rows, folds = [], {5: [], 10: []}
    for number in range(2 * patients):
        patient, side = number // 2 + 1, "lr"[number % 2]
        stem = f"{patient:04d}-{side}"
        write_pair(root / "Images" / f"bus_{stem}.png", root / "Masks" / f"mask_{stem}.png", number)
        label = "malignant" if patient % 3 == 0 else "benign"
        rows.append(f'bus_{stem},{patient},fibroadenoma,{label},4,GE,274,353,left,"[1,2,3,4]"')
        for count, lines in folds.items():
            lines.append(f"bus_{stem},{label},{patient % count + 1},NaN")
    header = "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"
    write_rows(root / "bus_data.csv", header, *rows)
    for count, lines in folds.items():
        write_rows(root / f"{count}-fold-cv.csv", "ID,Pathology,kFold,valid_1", *lines)
    return folder


def make_busi(folder: Path, normal: bool = True) -> Path:
    """RGB images; 1-bit masks, one image with two; all-black RGB masks for the normal cases."""
    root = folder / "Dataset_BUSI_with_GT"
    for number in range(1, 4):
        for label, shift in (("benign", 0), ("malignant", 10)):
            mask = mask_of(number + shift)
            stem = root / label / f"{label} ({number})"
            write(Path(f"{stem}.png"), colored(image_of(mask)))
            write(Path(f"{stem}_mask.png"), mask)
        if normal:
            stem = root / "normal" / f"normal ({number})"
            empty = np.zeros(SHAPE, np.uint8)
            write(Path(f"{stem}.png"), colored(empty + np.uint8(BACKGROUND)))
            write(Path(f"{stem}_mask.png"), colored(empty))
    two = np.zeros(SHAPE, bool)
    two[2:8, 3:9] = True
    left, two[12:20, 18:30] = two.copy(), True
    write(root / "benign" / "benign (2).png", colored(image_of(two)))
    write(root / "benign" / "benign (2)_mask.png", left)
    write(root / "benign" / "benign (2)_mask_1.png", two & ~left)
    return folder


def make_jsrt(folder: Path, count: int = 3) -> Path:
    """Label masks: the lungs are 150 and 200, the heart, 250, is not part of the object."""
    rows = []
    for number in range(1, count + 1):
        right, left = mask_of(number), mask_of(number + 50)
        labels = np.where(right, 150, np.where(left, 200, 0)).astype(np.uint8)
        labels[-3:] = 250
        image = image_of(right | left)
        image[-3:] = BACKGROUND
        write(folder / "images" / f"JPCLN{number:03d}.png", image)
        write(folder / "masks" / f"JPCLN{number:03d}.png", labels)
        rows.append(f"JPCLN{number:03d}.png,5,{'malignant' if number == 1 else 'benign'}")
    write_rows(folder / "jsrt_metadata.csv", "study_id,subtlety,state", *rows)
    return folder


def make_shenzhen(folder: Path) -> Path:
    """Three images with a mask, and one without."""
    for number, label in ((1, 0), (2, 0), (3, 1)):
        stem = f"CHNCXR_{number:04d}_{label}"
        write_pair(folder / "CXR_png" / f"{stem}.png", folder / "mask" / f"{stem}_mask.png", number)
    write(folder / "CXR_png" / "CHNCXR_0004_1.png", image_of(mask_of(4)))
    return folder


def make_folder_pairs(folder: Path, *stems: str, first: int = 0) -> Path:
    """`images/x.png` and `masks/x.png`."""
    for number, stem in enumerate(stems, start=first):
        write_pair(folder / "images" / f"{stem}.png", folder / "masks" / f"{stem}.png", number)
    return folder


def make_side_by_side(folder: Path, *stems: str, first: int = 0) -> Path:
    """`x.png` and `x_mask.png`."""
    for number, stem in enumerate(stems, start=first):
        write_pair(folder / f"{stem}.png", folder / f"{stem}_mask.png", number)
    return folder


def corners(mask: np.ndarray) -> list[list[float]]:
    """The corners of the rectangle that a mask of `mask_of` is, (x, y) in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, right = float(columns[0]), float(columns[-1] + 1)
    top, bottom = float(rows[0]), float(rows[-1] + 1)
    return [[left, top], [right, top], [right, bottom], [left, bottom]]
