"""TFDS builders: every owner's layout, features, groups, folds, and where files come from."""

import functools
import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from helpers import builder_archives
from helpers.builder_archives import MAKERS, SIDE, SQUARE, film, scan_line_echoes
from helpers.layout_makers import (
    colored,
    image_of,
    make_bus_bra,
    make_busi,
    make_jsrt,
    mask_of,
    paired,
    write,
    write_rows,
)
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo

from kerasunet.data import decode
from kerasunet.data.archives import check_archive
from kerasunet.data.builders import NAMES, load_cases
from kerasunet.data.builders.jsrt.jsrt_dataset_builder import FilmCase
from kerasunet.data.builders.oasbud.oasbud_dataset_builder import RadioFrequencyCase, b_mode

EXPECTED = {
    "bus_bra": (12, 1, {"benign", "malignant"}),
    "bus_uclm": (3, 1, {"benign", "malignant", "normal"}),
    "busi": (9, 1, {"benign", "malignant", "normal"}),
    "duts": (6, 3, {""}),
    "ecssd": (3, 3, {""}),
    "jsrt": (3, 1, {"nodule", "no nodule"}),
    "montgomery": (2, 1, {"normal", "tuberculosis"}),
    "msra10k": (3, 3, {""}),
    "oasbud": (6, 1, {"benign", "malignant"}),
    "shenzhen": (3, 1, {"normal", "tuberculosis"}),
    "udiat": (3, 1, {""}),
    "xpie": (3, 3, {""}),
}
LUNGS = ("montgomery", "shenzhen")


@dataclass
class Places:
    manual: object
    data: object


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Prepares a set from its tiny archives, once; gives the cases and where they are."""
    done = {}

    def prepare(name):
        if name not in done:
            places = Places(*(tmp_path_factory.mktemp(f"{name}-{kind}") for kind in "md"))
            MAKERS[name](places.manual)
            done[name] = load_cases(name, places.manual, places.data), places
        return done[name]

    return prepare


def builder_of(name, data_dir):
    module = importlib.import_module(f"kerasunet.data.builders.{name}.{name}_dataset_builder")
    return module.Builder(data_dir=data_dir)


def column(data, name):
    return {case.key: getattr(case, name) for case in data.cases}


def no_network(monkeypatch, answer):
    """Stands in for the download; notes what was asked for."""
    asked = []

    def download_and_extract(self, urls):
        asked.append(urls)
        return answer(urls)

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download_and_extract)
    return asked


def test_every_builder_is_expected_here():
    assert {*EXPECTED, "oxford_iiit_pet"} == set(NAMES)


@pytest.mark.parametrize("name", EXPECTED)
def test_archives_become_paired_cases(prepared, name):
    data, _ = prepared(name)
    count, channels, labels = EXPECTED[name]
    assert data.name == name
    assert len(data) == count
    assert {case.label for case in data.cases} == labels
    assert all(paired(case) for case in data.cases)
    for case in data.cases:
        image, mask, _ = case.load()
        assert image.dtype == np.float32
        assert image.ndim == (2 if channels == 1 else 3)
        assert mask.dtype == bool and mask.any() == (case.label != "normal" or name in LUNGS)


@pytest.mark.parametrize("name", EXPECTED)
def test_examples_have_the_promised_features(prepared, name):
    data, places = prepared(name)
    builder = builder_of(name, places.data)
    channels = EXPECTED[name][1]
    examples = [
        example for split in builder.info.splits for example in builder.as_data_source(split)
    ]
    keys = [example["key"].decode() for example in examples]
    assert sorted(keys) == [case.key for case in data.cases]
    for example in examples:
        height, width = example["mask"].shape[:2]
        assert example["image"].shape == (height, width, channels)
        assert example["image"].dtype == example["mask"].dtype == np.uint8
        assert example["mask"].shape == (height, width, 1)
        assert set(np.unique(example["mask"])) <= {0, 1}
        assert example["spacing"].shape == (2,) and example["spacing"].dtype == np.float32
    assert not any(
        isinstance(feature, tfds.features.ClassLabel) for feature in builder.info.features.values()
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_builder_describes_its_data(prepared, name):
    data, places = prepared(name)
    info = builder_of(name, places.data).info
    assert info.name == name
    assert "Split" in info.description
    assert "doi = " in info.citation or "Conference" in info.citation
    assert info.homepage.startswith("http")
    assert data.terms == info.redistribution_info.license
    tags = type(info._builder).get_metadata().tags
    assert "ml.task.image-segmentation" in tags
    assert set(tags) <= set(tfds.core.dataset_metadata.valid_tags())


def test_groups_are_kept(prepared):
    assert column(prepared("bus_bra")[0], "group")["bus_0001-l"] == "patient-1"
    assert column(prepared("bus_bra")[0], "group")["bus_0001-r"] == "patient-1"
    assert set(column(prepared("bus_uclm")[0], "group").values()) == {
        "patient-ALWI",
        "patient-VITR",
    }
    groups = column(prepared("oasbud")[0], "group")
    assert groups["001-1"] == groups["001-2"] == "lesion-P00"
    assert len(set(groups.values())) == 3


def test_busi_takes_near_duplicates_from_the_table(tmp_path):
    MAKERS["busi"](tmp_path)
    shutil.unpack_archive(tmp_path / "Dataset_BUSI.zip", tmp_path)
    (tmp_path / "Dataset_BUSI.zip").unlink()
    rows = ("benign (1),7,2", "malignant (3),7,2")
    write_rows(tmp_path / "near_duplicate_groups.csv", "stem,group,group_size", *rows)
    groups = column(load_cases("busi", tmp_path, tmp_path / "data"), "group")
    assert groups["benign (1)"] == groups["malignant (3)"] == "near-duplicates-7"
    assert len(set(groups.values())) == 8


def test_official_divisions_are_kept(prepared):
    bus_bra, _ = prepared("bus_bra")
    assert set(bus_bra.official) == {"5-fold", "10-fold"}
    assert bus_bra.official["5-fold"]["bus_0001-l"] == 1
    duts, _ = prepared("duts")
    assert sorted(duts.official["splits"].values()) == ["test"] * 2 + ["train"] * 4
    assert duts.official["splits"]["t04"] == "test"
    assert prepared("udiat")[0].official == {}


def test_spacing_is_kept_and_unknown_spacing_is_none(prepared):
    spacings = {name: prepared(name)[0].cases[0].load().spacing for name in EXPECTED}
    assert spacings.pop("jsrt") == pytest.approx((358.4 / SIDE,) * 2)
    assert spacings.pop("oasbud") == pytest.approx((0.077, 38 / 510))
    assert set(spacings.values()) == {None}


def test_cases_decode_in_threads_as_one_by_one(prepared):
    data, _ = prepared("bus_bra")
    height, width = mask_of(0).shape
    decoded = decode(data.cases * 4, (height, width))
    for index, case in enumerate(data.cases * 4):
        image, mask, _ = case.load()
        assert np.array_equal(decoded.images[index, ..., 0], image)
        assert np.array_equal(decoded.masks[index], mask)


def test_unpacked_archives_do_not_stay(prepared):
    _, places = prepared("busi")
    assert not [path for path in places.data.rglob("*.png")]


def test_prepared_set_needs_no_files_any_more(prepared):
    data, places = prepared("udiat")
    again = load_cases("udiat", data_dir=places.data)
    assert again.digest == data.digest


@pytest.mark.parametrize("name", ["udiat", "shenzhen", "ecssd", "jsrt"])
def test_unpacked_folders_count_as_archives(prepared, tmp_path, name):
    _, places = prepared(name)
    for archive in places.manual.glob("*.zip"):
        shutil.unpack_archive(archive, tmp_path / "manual" / archive.stem)
    data = load_cases(name, tmp_path / "manual", tmp_path / "data")
    assert data.digest == prepared(name)[0].digest


@pytest.mark.parametrize("inner", ["XPIE/a/b", "imgs", ""])
def test_xpie_may_lie_anywhere(tmp_path, inner):
    for number in range(2):
        folder = tmp_path / "manual" / inner
        write(folder / "Set-P" / f"{number}.jpg", colored(image_of(mask_of(number))))
        write(folder / "gt" / f"{number}.png", mask_of(number))
        write(folder / "Set-E" / f"{number}-none.jpg", colored(image_of(mask_of(number))))
    assert all(paired(case) for case in load_cases("xpie", tmp_path / "manual", tmp_path).cases)


def test_jsrt_takes_masks_of_other_spelling(prepared, tmp_path):
    MAKERS["jsrt"](tmp_path)
    for name in ("All247images.zip", "scratch.zip"):
        shutil.unpack_archive(tmp_path / name, tmp_path)
        (tmp_path / name).unlink()
    for path in tmp_path.rglob("*.gif"):
        folder = tmp_path / "masks" / path.parent.name.replace(" ", "_").title()
        folder.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(folder / f"{path.stem}.tif")
        path.unlink()
    assert load_cases("jsrt", tmp_path, tmp_path / "data").digest == prepared("jsrt")[0].digest


def test_jsrt_reads_the_copy_with_label_masks(tmp_path):
    make_jsrt(tmp_path)
    data = load_cases("jsrt", tmp_path, tmp_path / "data")
    assert set(column(data, "label").values()) == {"benign", "malignant"}
    assert all(paired(case) for case in data.cases)


@pytest.mark.parametrize("name", ["ecssd", "oasbud"])
def test_missing_files_are_downloaded_from_the_owners(prepared, tmp_path, monkeypatch, name):
    data, places = prepared(name)

    def answer(urls):
        for archive in urls:
            source = places.manual / archive
            target = tmp_path / "unpacked" / archive
            if source.suffix == ".zip":
                shutil.unpack_archive(source, target)
            else:
                target.parent.mkdir()
                shutil.copy(source, target)
        return {archive: tmp_path / "unpacked" / archive for archive in urls}

    asked = no_network(monkeypatch, answer)
    downloaded = load_cases(name, data_dir=tmp_path / "data")
    assert downloaded.digest == data.digest
    assert asked == [dict(builder_of(name, tmp_path / "data").ARCHIVES)]


@pytest.mark.parametrize(
    ("name", "put", "wanted"),
    [
        ("shenzhen", "mask.zip", "ChinaSet_AllFiles.zip"),
        ("ecssd", "images.zip", "ground_truth_mask.zip"),
    ],
)
def test_only_what_was_not_put_there_is_downloaded(
    prepared, tmp_path, monkeypatch, name, put, wanted
):
    data, places = prepared(name)
    (tmp_path / "manual").mkdir()
    shutil.copy(places.manual / put, tmp_path / "manual")
    shutil.unpack_archive(places.manual / wanted, tmp_path / "wanted")
    asked = no_network(monkeypatch, lambda urls: {wanted: tmp_path / "wanted"})
    found = load_cases(name, tmp_path / "manual", tmp_path / "data")
    assert found.digest == data.digest
    assert [list(urls) for urls in asked] == [[wanted]]


def test_data_sets_may_share_a_manual_folder(prepared, tmp_path):
    make_bus_bra(tmp_path / "manual")
    make_busi(tmp_path / "manual")
    data = load_cases("busi", tmp_path / "manual", tmp_path / "data")
    assert data.digest == prepared("busi")[0].digest


def test_pets_are_foreground_with_their_border(tmp_path, monkeypatch):
    folders = builder_archives.oxford_iiit_pet(tmp_path)
    no_network(monkeypatch, lambda urls: folders)
    data = load_cases("oxford_iiit_pet", data_dir=tmp_path / "data")
    assert column(data, "label") == {"Abyssinian_1": "cat", "beagle_7": "dog"}
    assert data.official["splits"] == {"Abyssinian_1": "train", "beagle_7": "test"}
    assert all(paired(case) for case in data.cases)


def test_unknown_name_tells_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no_such_set: not a data set with a builder.*bus_bra"):
        load_cases("no_such_set", tmp_path)


def test_missing_manual_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        load_cases("udiat", tmp_path / "nowhere", tmp_path)


def test_set_that_tfds_prepared_otherwise_is_told(prepared, tmp_path):
    _, places = prepared("udiat")
    config = tfds.download.DownloadConfig(manual_dir=places.manual)
    options = {"download_config": config}
    images = tfds.load(
        "udiat", data_dir=tmp_path, split="train", download_and_prepare_kwargs=options
    )
    assert images.cardinality() == 3
    with pytest.raises(ValueError, match="udiat.*prepared in the format tfrecord.*data_dir"):
        load_cases("udiat", places.manual, tmp_path)


@pytest.mark.parametrize("name", ["udiat", "jsrt", "xpie"])
def test_what_to_put_where_is_told(tmp_path, name):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "notes.txt").write_text("nothing of use")
    archive = {"udiat": "BUS.zip", "jsrt": "scratch.zip", "xpie": "XPIE.tar.gz"}[name]
    with pytest.raises(ValueError, match=f"{name}: files are missing.*{archive}"):
        load_cases(name, tmp_path / "manual", tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "archive", "lost"),
    [
        ("montgomery", "NLM-MontgomeryCXRSet.zip", "leftMask/MCUCXR_0104_1.png"),
        ("jsrt", "scratch.zip", "left lung/JPCLN002.gif"),
    ],
)
def test_a_lung_without_mask_is_an_error(prepared, tmp_path, name, archive, lost):
    _, places = prepared(name)
    for packed in places.manual.glob("*.zip"):
        shutil.unpack_archive(packed, tmp_path / "manual")
    (found,) = (tmp_path / "manual").rglob(lost)
    found.unlink()
    stem = found.stem
    with pytest.raises(ValueError, match=f"only one lung has a mask(?s:.*){stem}"):
        load_cases(name, tmp_path / "manual", tmp_path / "data")


def test_film_is_shown_with_dark_lungs_as_radiologists_see_it(tmp_path):
    values = np.zeros((4, 4), ">u2")
    values[:, :2] = 4095
    values.tofile(tmp_path / "x.IMG")
    Image.fromarray(np.full((2, 2), 255, np.uint8)).save(tmp_path / "x.gif")
    image, mask, _ = FilmCase("x", "x", tmp_path / "x.IMG", masks=(tmp_path / "x.gif",)).load()
    assert image.tolist() == [[0, 255], [0, 255]]
    assert mask.all()


@pytest.mark.parametrize("values", [film(mask_of(0, SQUARE))[:-1], np.full((4, 4), 4096, ">u2")])
def test_damaged_film_is_an_error_that_names_it(tmp_path, values):
    values.tofile(tmp_path / "x.IMG")
    Image.fromarray(np.full((2, 2), 255, np.uint8)).save(tmp_path / "x.gif")
    with pytest.raises(ValueError, match="x.IMG: not a square film"):
        FilmCase("x", "x", tmp_path / "x.IMG", masks=(tmp_path / "x.gif",)).load()


def test_b_mode_shows_decibels_below_the_brightest():
    image = b_mode(scan_line_echoes(np.array([1.0, 0.1, 0.01, 0.0])))
    assert image.shape == (SIDE, 4)
    assert image == pytest.approx(np.tile([255, 153, 51, 0], (SIDE, 1)), abs=0.01)
    assert not b_mode(np.zeros((8, 3))).any()


def test_scan_and_region_shrink_alike():
    region = np.zeros((4 * SIDE, 5), np.int16)
    region[40:82, 1:3] = 1
    sample = RadioFrequencyCase("k", "g", "", echoes=np.ones(region.shape), region=region).load()
    assert sample.image.shape == sample.mask.shape == (SIDE, 5)
    expected = np.zeros((SIDE, 5), bool)
    expected[10:21, 1:3] = True
    assert np.array_equal(sample.mask, expected)


@pytest.mark.slow
def test_load_prepares_what_no_folder_layout_knows(tmp_path):
    """`load(name, manual_dir=…)` in a process of its own, with TFDS' folder under tmp_path."""
    builder_archives.montgomery(tmp_path / "manual")
    code = (
        "from kerasunet.data import load\n"
        f"data = load('montgomery', manual_dir={str(tmp_path / 'manual')!r})\n"
        "print(data.name, len(data), data.cases[0].load().mask.any())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TFDS_DATA_DIR": str(tmp_path / "prepared")},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    name, count, found = finished.stdout.splitlines()[-1].split()
    assert (name, found) == ("montgomery", "True")
    assert int(count) > 0


def climbing(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.txt", "x")


BROKEN = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "no archive": lambda path: path.write_bytes(b"<html>Not found</html>"),
}


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    ("name", "archive"), [("busi", "Dataset_BUSI.zip"), ("xpie", "XPIE.tar.gz")]
)
def test_a_broken_archive_is_named_in_one_line(tmp_path, name, archive, spoil):
    MAKERS[name](tmp_path)
    spoil(tmp_path / archive)
    with pytest.raises(ValueError, match=f"{archive}: not a complete archive; copy") as caught:
        load_cases(name, tmp_path, tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    MAKERS["busi"](folder)
    climbing(folder / "Dataset_BUSI.zip")
    with pytest.raises(ValueError, match=r"Dataset_BUSI.zip: '../../outside.txt' would be written"):
        load_cases("busi", folder, tmp_path / "data")
    assert not list(tmp_path.rglob("outside.txt"))
    assert not list((tmp_path / "data").rglob("*.png"))


@pytest.mark.parametrize("name", ["/etc/passwd", "..\\x", "C:\\x", "a/../../x"])
def test_names_that_lead_out_on_any_system(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(ValueError, match="x.zip: .*would be written outside"):
        check_archive(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_that_lead_out_of_a_tar_archive(tmp_path, kind):
    link = tarfile.TarInfo("XPIE/images")
    link.type, link.linkname = kind, "../../home"
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.addfile(link)
    with pytest.raises(ValueError, match="x.tar.gz: .*would be written outside"):
        check_archive(tmp_path / "x.tar.gz")


def test_a_failed_download_tells_how_to_do_without(tmp_path, monkeypatch):
    def unreachable(urls):
        raise requests.ConnectionError("no such host")

    no_network(monkeypatch, unreachable)
    with pytest.raises(ValueError, match="downloaded .no such host.*put OASBUD.mat into the man"):
        load_cases("oasbud", data_dir=tmp_path / "data")


@pytest.fixture
def busi_server(tmp_path, monkeypatch):
    """An owner's server on this machine with a tiny BUSI; gives the address of its archive."""
    served = tmp_path / "served"
    served.mkdir()
    MAKERS["busi"](served)
    handler = functools.partial(QuietHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/Dataset_BUSI.zip"
        builder = type(builder_of("busi", tmp_path))
        monkeypatch.setattr(builder, "ARCHIVES", {"Dataset_BUSI.zip": url})
        yield url
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def test_a_set_is_downloaded_unpacked_and_prepared(prepared, tmp_path, busi_server):
    data = load_cases("busi", data_dir=tmp_path / "data")
    assert data.digest == prepared("busi")[0].digest
    assert all(paired(case) for case in data.cases)


def test_a_download_is_compared_with_its_checksum(tmp_path, monkeypatch, busi_server):
    wrong = UrlInfo(size=1000, checksum="0" * 64, filename="Dataset_BUSI.zip")
    builder = type(builder_of("busi", tmp_path))
    monkeypatch.setattr(builder, "url_infos", {busi_server: wrong})
    with pytest.raises(ValueError, match="a download is not what its owners published"):
        load_cases("busi", data_dir=tmp_path / "data")
