"""Groups of a data set: given, from a table, or near-duplicates joined and remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.layout_makers import make_bus_bra, write

from kerasunet.data import groups, load, split_cases
from kerasunet.data.layouts.tables import read_groups, write_groups
from kerasunet.data.splits import GroupedKey, groups_in_words
from kerasunet.runs.preparation import load_data, split_data
from kerasunet.training.settings import FinetuneSettings

COUNT = 24
TWINS = ("benign/scan03", "malignant/scan99")


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """24 simulated scans in two classes; one of the benign ones is malignant, too, but darker."""
    folder = tmp_path_factory.mktemp("scans")
    for number, case in enumerate(load(f"simulated-ultrasound:{COUNT}", size=64).cases):
        put(folder / ("benign", "malignant")[number % 3 == 0], f"scan{number:02d}", case.load())
        if number == 4:
            put(folder / "benign", "scan03", case.load())
            put(folder / "malignant", "scan99", case.load(), 0.8)
            (folder / "benign" / "scan04.png").unlink()
            (folder / "benign" / "scan04_mask.png").unlink()
    return folder


def put(folder: Path, stem: str, sample, brightness: float = 1.0) -> None:
    write(folder / f"{stem}.png", (sample.image * brightness).astype(np.uint8))
    write(folder / f"{stem}_mask.png", sample.mask)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KERASUNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def settings(data: Path, **changes) -> FinetuneSettings:
    return FinetuneSettings(data=str(data), train_size=None, validation_size=3, **changes)


def groups_of(data) -> dict[str, str]:
    return {case.key: case.group for case in data.cases}


def kept(own_cache: Path) -> Path:
    (file,) = (own_cache / "near-duplicates").iterdir()
    return file


def test_near_duplicates_are_one_group_by_default_even_across_classes(scans):
    given, joined = groups_of(load(scans)), groups_of(load_data(settings(scans)))
    assert {key for key in given if given[key] != key} == set()
    assert {key for key in joined if joined[key] != key} == {TWINS[1]}
    assert joined[TWINS[1]] == joined[TWINS[0]] == TWINS[0]


def test_no_split_divides_near_duplicates(scans):
    data = load_data(settings(scans))
    for seed in range(20):
        for fold in range(5):
            split = split_data(settings(scans, fold=fold, split_seed=seed), data)
            parts = [set(part) & set(TWINS) for part in vars(split).values()]
            assert sorted(map(len, parts)) in ([0, 0, 2], [0, 0, 1])  # One may be left out.


@pytest.fixture(scope="module")
def with_noisy_copy() -> list[np.ndarray]:
    """24 different pictures, and the fourth again with noise."""
    found = [case.load().image for case in load(f"simulated-ultrasound:{COUNT}", size=64).cases]
    noise = np.random.default_rng(0).normal(0, 20, found[3].shape)
    return [*found, np.clip(found[3] + noise, 0, 255)]


@pytest.mark.parametrize("side", [7, 25, 2048])
def test_tiles_of_any_size_find_the_same_pairs(with_noisy_copy, monkeypatch, side):
    monkeypatch.setattr(groups, "_TILE", side)
    (pair,) = groups.find_near_duplicates(with_noisy_copy)
    assert pair[:2] == (3, COUNT)


def test_among_many_images_a_pair_must_stand_out_by_more(with_noisy_copy, monkeypatch):
    monkeypatch.setattr(groups, "_MANY_IMAGES", COUNT)
    assert [pair[:2] for pair in groups.find_near_duplicates(with_noisy_copy)] == [(3, COUNT)]
    monkeypatch.setattr(groups, "_DEVIATIONS_OF_MANY", 1000)
    assert groups.find_near_duplicates(with_noisy_copy) == []


def test_joining_may_be_turned_off(scans):
    assert groups_of(load_data(settings(scans, groups="given"))) == groups_of(load(scans))


def test_an_official_division_is_taken_as_its_owners_made_it(tmp_path):
    make_bus_bra(tmp_path / "data")
    asked = settings(tmp_path / "data", division="5-fold")
    assert load_data(asked).digest == load(tmp_path / "data").digest


def test_the_result_is_remembered_by_the_pixels_compared(scans, own_cache):
    load_data(settings(scans))
    assert [pair[:2] for pair in json.loads(kept(own_cache).read_text())["pairs"]] == [[2, 24]]
    kept(own_cache).write_text('{"pairs": [[0, 1, 0.9]]}')
    keys = [case.key for case in load(scans).cases]
    joined = groups_of(load_data(settings(scans)))
    assert joined[keys[0]] == joined[keys[1]] and joined[TWINS[1]] == TWINS[1]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "{}", "[]", '{"pairs": [7]}', '{"pairs": [[1, 0, 1]]}', '{"pairs": [[0, 99, 1]]}'],
)
def test_a_damaged_result_is_searched_for_again(scans, own_cache, damage):
    whole = groups_of(load_data(settings(scans)))
    kept(own_cache).write_text(damage)
    assert groups_of(load_data(settings(scans))) == whole


@pytest.mark.parametrize("cache", ["off", "/dev/null/nowhere"])
def test_without_a_cache_it_works_as_well(scans, monkeypatch, cache):
    monkeypatch.setenv("KERASUNET_CACHE", cache)
    assert groups_of(load_data(settings(scans)))[TWINS[1]] == TWINS[0]


def test_load_takes_groups_from_a_file_or_finds_them(scans, tmp_path):
    found = load(scans, groups="near-duplicates")
    assert groups_of(found)[TWINS[1]] == TWINS[0]
    write_groups(tmp_path / "groups.csv", {key: "all" for key in groups_of(found)})
    assert set(groups_of(load(scans, groups=tmp_path / "groups.csv")).values()) == {"all"}
    assert set(read_groups(tmp_path / "groups.csv").values()) == {"all"}


def named(folder: Path, *names: str, first: int = 0) -> Path:
    for number, name in enumerate(names, start=first):
        put(folder, name, load("simulated-ultrasound:12", size=32).cases[number].load())
    return folder


def test_a_pattern_in_the_file_names_tells_patients_apart(tmp_path):
    folder = named(tmp_path / "own", "ABCD_001", "ABCD_002", "EF_001", "GHI_7", "GHI_8", "K_1")
    for pattern in ("([A-Z]+)_", "^[A-Z]+(?=_)"):
        data = load_data(settings(folder, group_pattern=pattern))
        assert list(groups_of(data).values()) == [
            *("patient-ABCD", "patient-ABCD", "patient-EF"),
            *("patient-GHI", "patient-GHI", "patient-K"),
        ]
    for seed in range(4):
        split = split_cases(data.cases, folds=3, seed=seed)
        assert ("ABCD_001" in split.test) == ("ABCD_002" in split.test)


def test_several_parentheses_are_one_patient_and_folders_are_none(tmp_path):
    named(tmp_path / "own" / "train", "h1_p2_1", "h2_p2_1")
    named(tmp_path / "own" / "test", "h1_p2_2", "h2_p3_1", first=4)
    data = load_data(settings(tmp_path / "own", group_pattern=r"h(\d)_p(\d)"))
    groups = ["patient-1-2", "patient-2-3", "patient-1-2", "patient-2-2"]
    assert list(groups_of(data).values()) == groups


def test_a_pattern_that_does_not_fit_is_refused(tmp_path):
    folder = named(tmp_path / "own", "ABCD_001", "002", "x_3")
    with pytest.raises(
        ValueError, match=r"\(\[A-Z\]\+\)_: is not in these names of own:\n  002\n  x_3$"
    ):
        load_data(settings(folder, group_pattern="([A-Z]+)_"))
    with pytest.raises(ValueError, match=r"group pattern \(: not a regular expression"):
        load_data(settings(folder, group_pattern="("))
    write_groups(tmp_path / "groups.csv", {"ABCD_001": "p", "002": "p", "x_3": "q"})
    both = {"group_pattern": "(.)", "groups": str(tmp_path / "groups.csv")}
    with pytest.raises(ValueError, match="both say which images belong together; give one"):
        load_data(settings(folder, **both))
    with pytest.raises(ValueError, match="simulated images have nothing in common"):
        load_data(FinetuneSettings(data="simulated-xray:5", group_pattern="(.)"))


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ({"a": "a", "b": "b"}, "2 images"),
        ({"a": "a"}, "1 image"),
        ({"a": "a", "b": "a", "c": "c"}, "2 groups of images"),
        ({"a": "near-duplicates-7", "b": "near-duplicates-7"}, "1 group of images"),
        ({"x-frame0000": "x", "x-frame0001": "x", "y": "y"}, "2 groups of images"),
        ({"p1/a": "p1", "p1/b": "p1", "p2/a": "p2"}, "2 patients"),
        ({"p1/a": "p1", "p1/b": "p1", "loose": "loose"}, "1 patient and 1 image"),
        ({"A_1": "patient-A", "A_2": "patient-A"}, "1 patient"),
    ],
)
def test_patients_are_counted_only_where_somebody_named_them(cases, words):
    assert groups_in_words(GroupedKey(key, group) for key, group in cases.items()) == words


def test_groups_that_are_nowhere_are_told(scans):
    with pytest.raises(FileNotFoundError, match="patients: no such file; groups are given, near"):
        load(scans, groups="patients")


def test_simulated_images_are_their_own_groups(tmp_path, own_cache):
    simulated = load("simulated-xray:6")
    assert groups_of(load("simulated-xray:6", groups="near-duplicates")) == groups_of(simulated)
    assert not own_cache.exists()
    write_groups(tmp_path / "groups.csv", groups_of(simulated))
    with pytest.raises(ValueError, match="simulated images have nothing in common"):
        load("simulated-xray:6", groups=tmp_path / "groups.csv")


def test_an_image_that_cannot_be_compared_is_named(scans, tmp_path):
    for path in (*scans.rglob("scan00*"), *scans.rglob("scan01*"), *scans.rglob("scan02*")):
        target = tmp_path / "spoilt" / path.relative_to(scans)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"" if path.name == "scan01.png" else path.read_bytes())
    with pytest.raises(ValueError, match="scan01.png: the file is empty"):
        load_data(settings(tmp_path / "spoilt"))


@pytest.mark.slow
def test_finetune_tells_layout_and_groups_and_takes_a_fixed_size(call_cli, scans, own_cache):
    done = call_cli(
        *("finetune", "--data", scans, "--layers", "none", "--init", "scratch", "--depth", 2),
        *("--base-filters", 2, "--image-size", 32, "--train-size", 10, "--validation-size", 2),
        *("--stratify-sizes", "--output", "run"),
    )
    assert done.returncode == 0, done.stderr
    expected = f"{scans.name} (one folder per class: x beside x_mask): 25 cases in 24 groups"
    assert expected in done.stdout
    assert re.search(
        r"held-out cases \(mean, 95 % interval over \d (groups of )?images\)", done.stdout
    )
    summary = json.loads((own_cache.parent / "run" / "summary.json").read_text())
    assert summary["split"]["train"] == 10 and len(summary["split"]["digest"]) == 64
    assert summary["settings"]["stratify_sizes"] is True
