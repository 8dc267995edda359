"""Tiny archives in the owners' layouts and under the owners' names, for the tests of builders.

As in `layout_makers`, the object of each image is bright and has a place of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from helpers.layout_makers import (
    BACKGROUND,
    OBJECT,
    colored,
    image_of,
    make_bus_bra,
    make_busi,
    make_duts,
    make_ecssd,
    make_shenzhen,
    mask_of,
    write,
    write_rows,
)

SIDE = 32
SQUARE = (SIDE, SIDE)
OASBUD_FIELDS = ("id", "rf1", "rf2", "roi1", "roi2", "birads", "class")


def pack(archive: Path, folder: Path, *entries: str) -> None:
    """Packs entries of a folder into a .zip or .tar.gz file and removes them."""
    packing = folder / "packing"
    packing.mkdir()
    for entry in entries:
        shutil.move(folder / entry, packing / entry)
    suffix, kind = (".zip", "zip") if archive.suffix == ".zip" else (".tar.gz", "gztar")
    shutil.make_archive(str(archive).removesuffix(suffix), kind, packing)
    shutil.rmtree(packing)


def busi(folder: Path) -> None:
    make_busi(folder)
    pack(folder / "Dataset_BUSI.zip", folder, "Dataset_BUSI_with_GT")


def bus_bra(folder: Path) -> None:
    make_bus_bra(folder)
    pack(folder / "BUSBRA.zip", folder, "BUSBRA")


def bus_uclm(folder: Path) -> None:
    """Color masks: green is benign, red malignant, all black no lesion."""
    name = "BUS-UCLM Breast ultrasound lesion segmentation dataset"
    root = folder / name / "BUS-UCLM"
    rows = []
    for number, (stem, label) in enumerate(
        [("ALWI_000", "Benign"), ("ALWI_001", "Malignant"), ("VITR_000", "Normal")]
    ):
        mask = mask_of(number) & (label != "Normal")
        painted = np.zeros((*mask.shape, 3), np.uint8)
        painted[mask] = (255, 0, 0) if label == "Malignant" else (0, 255, 0)
        write(root / "images" / f"{stem}.png", colored(image_of(mask)))
        write(root / "masks" / f"{stem}.png", painted)
        rows.append(f"{stem}.png;{label};No;No")
    write_rows(root / "INFO.csv", "Image;Label;Doppler;Marks", *rows)
    pack(folder / "7fvgj4jsp7-1.zip", folder, name)


def udiat(folder: Path) -> None:
    for number in range(3):
        mask = mask_of(number)
        write(folder / "BUS" / "original" / f"00000{number}.png", image_of(mask))
        write(folder / "BUS" / "GT" / f"00000{number}.png", mask * np.uint8(255))
    pack(folder / "BUS.zip", folder, "BUS")


def scan_line_echoes(amplitudes: np.ndarray, samples: int = 4 * SIDE) -> np.ndarray:
    """A pure tone on each line, of whole periods: its envelope is the amplitude everywhere."""
    tone = np.cos(2 * np.pi * np.arange(samples) / 8)
    return tone[:, None] * amplitudes


def oasbud(folder: Path) -> None:
    """A MATLAB array of structures; lesions are on some lines, the first is malignant."""
    lesions = np.empty((1, 3), [(name, object) for name in OASBUD_FIELDS])
    for number in range(3):
        lesion = {"id": f"P{number:02d}", "birads": "4", "class": int(number == 0)}
        for scan in (1, 2):
            lines = np.zeros(SIDE)
            lines[5 * number + 3 * scan : 5 * number + 3 * scan + 4] = 1
            region = np.repeat(lines[None], 4 * SIDE, axis=0)
            lesion[f"rf{scan}"] = np.rint(scan_line_echoes(8000 * lines + 1)).astype(np.int16)
            lesion[f"roi{scan}"] = region.astype(np.int16)
        lesions[0, number] = tuple(lesion[name] for name in OASBUD_FIELDS)
    savemat(folder / "OASBUD.mat", {"data": lesions})


def film(mask: np.ndarray) -> np.ndarray:
    """12-bit values, high where the film is black, of twice as many rows and columns."""
    levels = np.where(mask, OBJECT, BACKGROUND).repeat(2, axis=0).repeat(2, axis=1)
    return np.rint(4095 * (1 - levels / 255)).astype(">u2")


def jsrt(folder: Path) -> None:
    """Raw scans without a header; masks as GIF, odd and even numbers in different folds."""
    for number, stem in enumerate(("JPCLN001", "JPCLN002", "JPCNN001")):
        left, right = mask_of(number, SQUARE), mask_of(number + 40, SQUARE)
        path = folder / "All247images" / f"{stem}.IMG"
        path.parent.mkdir(exist_ok=True)
        film(left | right).tofile(path)
        organs = {"left lung": left, "right lung": right, "heart": ~(left | right)}
        for organ, mask in organs.items():
            path = folder / "scratch" / f"fold{number % 2 + 1}" / "masks" / organ / f"{stem}.gif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask * np.uint8(255)).save(path)
    pack(folder / "All247images.zip", folder, "All247images")
    pack(folder / "scratch.zip", folder, "scratch")


def montgomery(folder: Path) -> None:
    root = folder / "MontgomerySet"
    for number, stem in enumerate(("MCUCXR_0001_0", "MCUCXR_0104_1")):
        left, right = mask_of(number), mask_of(number + 50)
        write(root / "CXR_png" / f"{stem}.png", image_of(left | right))
        write(root / "ManualMask" / "leftMask" / f"{stem}.png", left)
        write(root / "ManualMask" / "rightMask" / f"{stem}.png", right)
    pack(folder / "NLM-MontgomeryCXRSet.zip", folder, "MontgomerySet")


def shenzhen(folder: Path) -> None:
    """NLM's archive has a folder around; that of the masks has another folder `mask`."""
    make_shenzhen(folder)
    for entry in ("CXR_png", "mask"):
        outer = folder / {"CXR_png": "ChinaSet_AllFiles", "mask": "outer"}[entry]
        outer.mkdir()
        shutil.move(folder / entry, outer / entry)
    (folder / "outer").rename(folder / "mask")
    pack(folder / "ChinaSet_AllFiles.zip", folder, "ChinaSet_AllFiles")
    pack(folder / "mask.zip", folder, "mask")


def duts(folder: Path) -> None:
    make_duts(folder)
    for number in range(4, 6):
        mask = mask_of(number)
        root = folder / "DUTS-TE"
        write(root / "DUTS-TE-Image" / f"t{number:02d}.jpg", colored(image_of(mask)))
        write(root / "DUTS-TE-Mask" / f"t{number:02d}.png", mask * np.uint8(255))
    pack(folder / "DUTS-TR.zip", folder, "DUTS-TR")
    pack(folder / "DUTS-TE.zip", folder, "DUTS-TE")


def ecssd(folder: Path) -> None:
    make_ecssd(folder)
    pack(folder / "images.zip", folder, "images")
    pack(folder / "ground_truth_mask.zip", folder, "ground_truth_mask")


def _photographs(folder: Path, count: int) -> None:
    for number in range(count):
        mask = mask_of(number)
        write(folder / f"{number}.jpg", colored(image_of(mask)))
        write(folder / f"{number}.png", mask * np.uint8(255))


def msra10k(folder: Path) -> None:
    _photographs(folder / "MSRA10K_Imgs_GT" / "Imgs", 3)
    pack(folder / "MSRA10K_Imgs_GT.zip", folder, "MSRA10K_Imgs_GT")


def xpie(folder: Path) -> None:
    """Two parts, one of them with photographs only."""
    _photographs(folder / "XPIE" / "salient", 3)
    write(folder / "XPIE" / "other" / "x.jpg", colored(image_of(mask_of(9))))
    pack(folder / "XPIE.tar.gz", folder, "XPIE")


def oxford_iiit_pet(folder: Path) -> dict[str, Path]:
    """Unpacked: a trimap of pet, background and border; one image to train, one to test."""
    images, annotations = folder / "images", folder / "annotations"
    for number, (stem, row) in enumerate({"Abyssinian_1": "1 1 1", "beagle_7": "5 2 1"}.items()):
        mask = mask_of(number)
        trimap = np.where(mask, 1, 2).astype(np.uint8)
        trimap[mask & ~np.roll(mask, 1, axis=0)] = 3
        write(images / "images" / f"{stem}.jpg", colored(image_of(mask)))
        write(annotations / "annotations" / "trimaps" / f"{stem}.png", trimap)
        table = annotations / "annotations" / ("trainval.txt", "test.txt")[number]
        table.write_text(f"{stem} {row}\n")
    return {"images": images, "annotations": annotations}


MAKERS = {
    make.__name__: make
    for make in (
        bus_bra, bus_uclm, busi, duts, ecssd, jsrt, montgomery, msra10k, oasbud, shenzhen, udiat,
        xpie,
    )
}  # fmt: skip
